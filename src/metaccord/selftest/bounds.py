"""The figures that the checks are held to, in one place.

All errors are relative, ``||a - b|| / ||b||``, in float64 unless the name says otherwise. They are
promises: loosening one needs a line in the changelog.
"""

from typing import Final

CLOSED_FORM: Final = 1e-12  # condition up to 1e3; beyond, the bound grows with the condition
WITHOUT_AUTOGRAD: Final = 1e-10  # parameters after every meta-step
CENTRAL_DIFFERENCE: Final = 1e-7  # with one Richardson step, smooth activations
GRADCHECK_EPS: Final = 1e-6
GRADCHECK_ATOL: Final = 1e-7
GRADCHECK_RTOL: Final = 1e-5
TAYLOR_SLOPE: Final = 0.1  # absolute distance from 2 (gradient) or 3 (Hessian)
HESSIAN_PRODUCT: Final = 1e-10
SYMMETRY: Final = 1e-12
EIGENVALUE: Final = 1e-8
