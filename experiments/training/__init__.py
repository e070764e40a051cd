"""The parts of ``experiments/train.py``, each of which can be copied on its own."""
