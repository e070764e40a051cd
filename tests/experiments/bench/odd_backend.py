"""A backend that fails as its options say: a matrix product in NumPy."""

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
        print("noise on standard output")
        return x @ kernel + bias

    return call, dict
