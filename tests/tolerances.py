"""Tolerances of the equality ladder, in one place.

All are relative: ``||a - b|| / ||b||`` over the whole gradient (``reference.compare``), unless
the name says otherwise. Pairs that promise identical bits have no constant: use ``torch.equal``.
"""

from typing import Final

# Fast code against a slow twin, or either of them against algebra.
TWIN_F64: Final = 1e-12
CLOSED_FORM_F64: Final = 1e-12  # for condition numbers up to 1e3; times the condition beyond
HOLD_OUT_F64: Final = 1e-10  # tests written by somebody who has not seen the code

# The same meta-gradient along another road; none of these promise bits.
CHUNK_F64: Final = 1e-12  # chunk a against chunk b; chunk 1 is a plain loop
CHUNK_F32: Final = 1e-5
RELEASED_F64: Final = 1e-12  # graphs freed chunk by chunk against kept, chunk above 1
RELEASED_F32: Final = 1e-5
COMPILED_F64: Final = 1e-12  # compile=True against eager
COMPILED_F32: Final = 1e-5

# The same meta-gradient on other machinery.
RANKS_FAST_F32: Final = 1e-6  # 1, 2, 4 processes in fast mode: meta-gradients, not parameters
THREADS_F32: Final = 1e-6  # 1 against 2 threads
DEVICE_F64: Final = 1e-10  # processor against GPU, TF32 off
DEVICE_F32: Final = 1e-4
TORCH_F64: Final = 1e-12  # one torch version against another
TORCH_F32: Final = 1e-5

# Metamorphic relations.
PERMUTED_SUM_F64: Final = 1e-14  # the sum over permuted tasks

# Finite differences, float64, smooth activations.
CENTRAL_DIFFERENCE: Final = 1e-7  # central differences with one Richardson step (h, h/2)
GRADCHECK_EPS: Final = 1e-6  # step of torch.autograd.gradcheck and gradgradcheck
GRADCHECK_ATOL: Final = 1e-7
GRADCHECK_RTOL: Final = 1e-5
TAYLOR_SLOPE: Final = 0.1  # absolute: the remainder of a right gradient has slope 2.0 +- this
HESSIAN_PRODUCT_F64: Final = 1e-10  # Hessian-vector product against the dense Hessian

# A test that separates two methods must see at least this relative difference.
CLEARLY_DIFFERENT: Final = 0.1
