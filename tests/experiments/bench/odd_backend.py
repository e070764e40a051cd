"""A backend that goes wrong as its options say: a product of matrices by NumPy."""

import os
import signal


def inference(task, change=0.0, calls=99, raises="", says=""):
    x, kernel, bias = (task.array(name) for name in ("x", "matrix.kernel", "matrix.bias"))
    kernel[3, 5] += change
    left = [calls]
    if raises:
        raise ValueError(raises)

    def call():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        print("noise on standard output", flush=True)  # or it would be lost with the process
        return x @ kernel + bias

    return call, dict
