"""Every method once more in NumPy, without autograd: all derivatives are written by hand."""
