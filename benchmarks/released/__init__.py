"""What the released codes of CAML and CML do in one training step, written anew from our notes about them.

Cost structure, not code: the same tensors are computed in the same order with the same avoidable work, so that
``benchmarks/speed.py`` can say what a step costs those who run the public repositories. Each docstring says which
sentence of the notes (``methods/caml.md``, ``methods/cml.md``, ``methods/common.md``) a cost comes from. The networks
are Semivox's V-Nets in fp32 and PyTorch's plain layout: the same layers as there, so weights can be equal.
"""
