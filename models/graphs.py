"""The rules for an exported graph: what its JSON may say before torch may read it.

Torch turns several of its strings into code: shape expressions are evaluated by SymPy, guards are
compiled, operators are looked up by dotted name in all of `torch` (`torch.os.system` is there),
placeholder names are pasted into generated source, and tree specifications import modules. So
every string here must match a narrow pattern, operators must be functional ones of `aten`, and
what inference does not need (metadata, guards, submodule signatures) is left out.

Reads JSON only. Does not open archives (`models/archive.py`) and runs nothing.
In the query's way: nowhere; once for each program, before it is loaded.
"""

import ast
import json
import re
from functools import cache
from threading import Lock
from typing import Any

import torch

from models.refusals import ProgramRefused

Json = Any  # what json.loads gives

# Operators outside torch.ops.aten: arithmetic on sizes, where a graph reshapes by its batch.
SIZE_OPERATORS = frozenset(
    f"_operator.{name}"
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
) | {"torch.sym_max", "torch.sym_min", "torch.sym_not"}

# Private operators of aten may trust their arguments; these are what exports of plain networks
# contain, and they check them.
PRIVATE_OPERATORS = frozenset(
    {
        "_adaptive_avg_pool2d",
        "_assert_scalar",
        "_assert_tensor_metadata",
        "_log_softmax",
        "_native_batch_norm_legit_no_training",
        "_softmax",
        "_to_copy",
        "_unsafe_view",
    }
)
DENIED_OPERATORS = frozenset({"from_file"})  # maps a file of the worker, and may create it

# The kinds of argument of an operator. Not here: as_graph, as_operator, as_custom_obj, tokens.
ARGUMENT_KINDS = frozenset(
    {"as_none", "as_tensor", "as_tensors", "as_optional_tensor", "as_optional_tensors"}
    | {"as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"}
    | {"as_sym_int", "as_sym_ints", "as_sym_bool", "as_scalar_type", "as_memory_format"}
    | {"as_layout", "as_device", "as_complex"}
)
EXPRESSIONS = frozenset(
    {"Add", "Mul", "Max", "Min", "FloorDiv", "Mod", "PythonMod", "CeilDiv"}
    | {"Eq", "Ne", "Equality", "Unequality", "GreaterThan", "LessThan"}
    | {"StrictGreaterThan", "StrictLessThan"}
)
# Python before 3.13 has one count of depth for all threads, and raises SystemError where it is off.
ONE_PARSE = Lock()
LONGEST_EXPRESSION = 2000  # characters; a size is a product of a few terms

NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,199}")
DOTTED = re.compile(r"(?!__)[A-Za-z0-9_]{1,200}(\.(?!__)[A-Za-z0-9_]{1,200}){0,30}")
NUMBER = re.compile(r"-?Infinity|NaN")  # JSON has no way to write these
TEXT = re.compile(r"[ -~]{0,500}")  # printable; written into generated code by repr only
TARGET = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")
STRINGS = {
    "parameter_name": DOTTED,
    "buffer_name": DOTTED,
    "tensor_constant_name": DOTTED,
    "as_float": NUMBER,
    "as_floats": NUMBER,
    "as_string": TEXT,
    "type": re.compile("cpu"),  # of a device; loading moves the program elsewhere
}

LEAF: dict[str, Json] = {"type": None, "context": None, "children_spec": []}


def canonical_graph(program: Json) -> dict[str, Json]:
    """Check the JSON of an exported program and leave out what inference does not need.

    Args:
        program: the parsed `models/model.json` of an archive.

    Returns:
        A new object: the same for every export of one module, and free of anything that torch
        would evaluate, import or compile.

    Raises:
        ProgramRefused: a string, operator or structure that is not on the lists above.
    """
    try:
        module = program["graph_module"]
        graph = module["graph"]
        if program["guards_code"]:
            raise ProgramRefused("The graph carries guards, which are Python code.")
        for key in ("custom_obj_values", "sym_float_values"):
            if graph.get(key):
                raise ProgramRefused(f"The graph has {key}; only tensors and sizes are taken.")
        kept = {
            "graph_module": {
                "graph": {
                    "inputs": graph["inputs"],
                    "outputs": graph["outputs"],
                    "nodes": [_node(node) for node in graph["nodes"]],
                    "tensor_values": {
                        name: _without_gradient(meta)
                        for name, meta in graph["tensor_values"].items()
                    },
                    "sym_int_values": graph["sym_int_values"],
                    "sym_bool_values": graph["sym_bool_values"],
                    "is_single_tensor_return": False,
                    "custom_obj_values": {},
                    "sym_float_values": {},
                },
                "signature": {
                    "input_specs": [
                        _input_spec(spec) for spec in module["signature"]["input_specs"]
                    ],
                    "output_specs": [
                        _output_spec(spec) for spec in module["signature"]["output_specs"]
                    ],
                },
                "metadata": {},
                "treespec_namedtuple_fields": {},
            },
            "opset_version": {"aten": int(program["opset_version"]["aten"])},
            "range_constraints": program["range_constraints"],
            "schema_version": {
                key: int(program["schema_version"][key]) for key in ("major", "minor")
            },
            "verifiers": ["TRAINING"],  # the one that takes every functional aten graph
            "torch_version": "",
            "guards_code": [],
        }
        _check(kept, "program")
        # Checked against the two shapes known here, so its strings need no pattern.
        kept["graph_module"]["module_call_graph"] = [_calling(module, kept)]
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, ProgramRefused):
            raise
        raise ProgramRefused(
            f"The graph is not one that torch.export writes: {type(error).__name__} {error}"
        ) from error
    return kept


def _node(node: Json) -> Json:
    """One operator call, without the stack traces and module names of whoever exported it."""
    _check_operator(node["target"])
    for argument in node["inputs"]:
        _check_kind(argument["arg"])
    for output in node["outputs"]:
        _check_kind(output)
    return {
        "target": node["target"],
        "inputs": [
            {"name": argument["name"], "arg": argument["arg"], "kind": argument["kind"]}
            for argument in node["inputs"]
        ],
        "outputs": node["outputs"],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": node.get("name"),
    }


def _check_kind(argument: Json) -> None:
    (kind,) = argument
    if kind not in ARGUMENT_KINDS:
        raise ProgramRefused(f"The graph has an argument of kind {kind!r}, which is not taken.")


def _check_operator(target: Json) -> None:
    if not isinstance(target, str):
        raise ProgramRefused(f"An operator must be named by text, not {target!r}.")
    if target in SIZE_OPERATORS:
        return
    match = TARGET.fullmatch(target)
    if match is None:
        raise ProgramRefused(f"Operator {target[:200]!r} is not of torch.ops.aten.")
    _check_aten(*match.groups())


@cache
def _check_aten(name: str, overload: str) -> None:
    private = name.startswith("_") and name not in PRIVATE_OPERATORS
    operator = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if private or name in DENIED_OPERATORS:
        raise ProgramRefused(f"Operator aten.{name}.{overload} is not taken.")
    if not isinstance(operator, torch._ops.OpOverload):
        raise ProgramRefused(f"Operator aten.{name}.{overload} is not known to this torch.")
    if operator._schema.is_mutable:
        raise ProgramRefused(f"Operator aten.{name}.{overload} writes into its arguments.")


def _without_gradient(meta: Json) -> Json:
    """Whether a weight was trainable when exported is no part of what the program computes."""
    if meta["device"] != {"type": "cpu", "index": None}:
        raise ProgramRefused("Programs are stored for the CPU; this one names another device.")
    return {**meta, "requires_grad": False}


def _input_spec(spec: Json) -> Json:
    (kind,) = spec
    if kind not in ("user_input", "parameter", "buffer", "tensor_constant"):
        raise ProgramRefused(f"The graph has an input of kind {kind!r}, which is not taken.")
    if kind == "user_input" and list(spec[kind]["arg"]) != ["as_tensor"]:
        raise ProgramRefused("The program must take tensors only.")
    return spec


def _output_spec(spec: Json) -> Json:
    (kind,) = spec
    if kind != "user_output" or list(spec[kind]["arg"]) != ["as_tensor"]:
        raise ProgramRefused(f"The program must give tensors only and keep no state ({kind}).")
    return spec


def _calling(module: Json, kept: Json) -> Json:
    """The root's calling convention: positional tensors in, one tensor or a tuple of them out."""
    (root,) = (entry for entry in module["module_call_graph"] if entry["fqn"] == "")
    signature = kept["graph_module"]["signature"]
    inputs = sum("user_input" in spec for spec in signature["input_specs"])
    outputs = len(signature["output_specs"])
    taken = _tuple(_tuple(*[LEAF] * inputs), {**_tuple(), "type": "builtins.dict", "context": "[]"})
    given = json.loads(root["signature"]["out_spec"])
    if json.loads(root["signature"]["in_spec"]) != [1, taken]:
        raise ProgramRefused("The program must take its tensors as positional arguments.")
    if given != [1, _tuple(*[LEAF] * outputs)] and (outputs != 1 or given != [1, LEAF]):
        raise ProgramRefused("The program must give one tensor or a tuple of tensors.")
    return {
        "fqn": "",
        "signature": {
            "inputs": [],
            "outputs": [],
            "in_spec": json.dumps([1, taken]),
            "out_spec": json.dumps(given),
            "forward_arg_names": None,
        },
    }


def _tuple(*children: Json) -> Json:
    return {"type": "builtins.tuple", "context": "null", "children_spec": list(children)}


def _check(value: Json, key: str) -> None:
    """Every string under `value` matches the pattern of its key; keys are names themselves."""
    if isinstance(value, dict):
        for name, child in value.items():
            if not NAME.fullmatch(name):
                raise ProgramRefused(f"The graph has a field {name[:200]!r}, which is no name.")
            _check(child, name)
    elif isinstance(value, list):
        for child in value:
            _check(child, key)
    elif isinstance(value, str):
        if key == "expr_str":
            _check_expression(value)
        elif key != "target" and value and not STRINGS.get(key, NAME).fullmatch(value):
            raise ProgramRefused(f"The graph's {key} {value[:200]!r} is not taken.")


def _check_expression(text: str) -> None:
    """A size as SymPy prints it: calls of the few functions above, on integers and symbols."""
    try:
        if len(text) > LONGEST_EXPRESSION:
            raise ValueError(f"longer than {LONGEST_EXPRESSION} characters")
        with ONE_PARSE:
            term = ast.parse(text, mode="eval").body
        _check_term(term)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ProgramRefused(f"The graph's size {text[:200]!r} is not taken: {error}") from error


def _check_term(term: ast.expr) -> None:
    match term:
        case ast.Constant(value=int()):
            return
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int())):
            return
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]) if (
            NAME.fullmatch(name) and all(_is_flag(keyword.value) for keyword in term.keywords)
        ):
            return
        case ast.Call(func=ast.Name(id="Integer"), args=[argument], keywords=[]):
            _check_term(argument)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in EXPRESSIONS:
            for argument in arguments:
                _check_term(argument)
        case _:
            raise ValueError(f"{ast.unparse(term)[:100]} is no size")


def _is_flag(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, bool)
