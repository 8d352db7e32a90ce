"""The words of the protocol language: every name that a text may use, by where it may stand.

``grammar.py`` refuses all others. Nothing here draws random numbers, names a device, leaves PyTorch, returns memory
that was never written, or makes the result's shape depend on values.
"""

from __future__ import annotations

BUILTINS = frozenset(
    (
        "abs all any bool dict enumerate float int isinstance len list max min range reversed round set "
        "sorted sum tuple zip ValueError RuntimeError AssertionError True False None "
    ).split()
)

# Operations that exist both as functions of torch and as methods of tensors.
_BOTH = (
    "abs add all amax amin any argmax argmin argsort atan atan2 bmm broadcast_to ceil chunk clamp clip clone cos "
    "cumprod cumsum diag_embed diagonal div eq exp expm1 fill_diagonal flatten flip floor floor_divide fmod gather ge "
    "gt hypot index_add index_copy index_fill index_select isfinite isinf isnan le log log1p log2 logical_and "
    "logical_not logical_or logical_xor lt masked_fill matmul max maximum mean min minimum movedim mul narrow ne neg "
    "norm outer permute pow prod reciprocal relu remainder repeat_interleave reshape roll round rsqrt scatter "
    "scatter_add select sigmoid sign sin softmax sort split sqrt square squeeze std sub sum swapaxes swapdims "
    "take_along_dim tan tanh tile topk transpose tril triu trunc unbind unflatten unsqueeze var where "
).split()

# Functions and values of torch.
_TORCH = frozenset(
    _BOTH
    + (
        "arange as_tensor cat cdist concat concatenate einsum eye full full_like is_tensor linspace ones ones_like "
        "stack tensor zeros zeros_like float float32 float64 double int int32 int64 long bool Tensor Size dtype pi inf "
    ).split()
) - {"fill_diagonal"}
_FUNCTIONAL = frozenset("normalize one_hot pad relu sigmoid softmax tanh leaky_relu log_softmax".split())
_MATH = frozenset("ceil cos e exp floor hypot inf isclose log log2 pi pow prod sin sqrt tan tanh".split())

MODULES: dict[str, frozenset[str]] = {"torch": _TORCH, "torch.nn.functional": _FUNCTIONAL, "math": _MATH}

# Methods and fields of tensors, lists, dicts and shapes.
METHODS = frozenset(
    _BOTH
    + (
        "T mT add_ append bool clamp_ clamp_max clamp_min contiguous copy_ count device dim div_ double dtype expand "
        "expand_as extend fill_ float get index indices int items keys long masked_fill_ mul_ ndim new_full new_ones "
        "new_tensor new_zeros numel repeat scatter_ scatter_add_ shape size sub_ t to type_as unfold values view "
        "view_as zero_ "
    ).split()
)

# Keywords of calls to torch, math and methods; functions of the text take any.
KEYWORDS = frozenset(
    (
        "alpha as_tuple axis beta chunks condition correction decimals default descending device diagonal dim dim0 "
        "dim1 dims dtype end end_dim eps equation exponent fill_value include_self index indices input k keepdim "
        "key largest length m mask max mean_dim min mode n num_classes offset operands ord other output_size p pad "
        "reduce repeats reverse right rounding_mode sections shape shifts size sizes sorted source split_size "
        "split_size_or_sections src stable start start_dim step steps strict tensors unbiased value values "
    ).split()
)

# Calls whose numbers are the size of what they make.
MAKERS = frozenset(
    "arange broadcast_to expand eye full linspace new_full new_ones new_zeros ones pad repeat tile zeros".split()
)

# What to do instead of something that people reach for.
ADVICE = {
    "item": "a number cannot leave a tensor; compute with tensors and choose with torch.where.",
    "tolist": "numbers cannot leave a tensor; compute with tensors and choose with torch.where.",
    "numpy": "numbers cannot leave a tensor; stay with tensors.",
    "nonzero": "its size depends on values; use a mask and torch.where or masked_fill.",
    "masked_select": "its size depends on values; use a mask and torch.where or masked_fill.",
    "unique": "its size depends on values; use a mask, sort or one_hot.",
    "empty": "its content is undefined; use torch.zeros.",
    "empty_like": "its content is undefined; use torch.zeros_like.",
    "cuda": "name no device; make tensors with device=o.device.",
    "cpu": "name no device; tensors are already where the input is.",
    "no_grad": "it is not needed; gradients are never taken through a protocol.",
    "detach": "it is not needed; gradients are never taken through a protocol.",
    "data": "it is not needed; gradients are never taken through a protocol.",
    "print": "output is not kept; leave it out.",
    "format": "text formatting is not accepted; write the instruction as one text.",
    "rand": "random numbers are not accepted; the same input must give the same message.",
    "half": "results must be float32; leave it out.",
}
for _name in "randn randint rand_like randn_like randperm bernoulli multinomial normal dropout manual_seed".split():
    ADVICE[_name] = ADVICE["rand"]
for _name in "uniform_ normal_ random_ bernoulli_ exponential_".split():
    ADVICE[_name] = ADVICE["rand"]
