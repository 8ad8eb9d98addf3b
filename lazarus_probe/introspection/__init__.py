"""What is inside: one module an analysis, each with the controls that its result needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.introspection.ablation.config import AblationConfig, AblationType, ComponentType
    from lazarus_probe.introspection.ablation.layer_edits import layer_edits
    from lazarus_probe.introspection.ablation.study import AblationStudy
    from lazarus_probe.introspection.attribution.function_vectors import function_vectors
    from lazarus_probe.introspection.attribution.head_circuits import head_circuits
    from lazarus_probe.introspection.attribution.self_repair import self_repair
    from lazarus_probe.introspection.capture.evolution import LogitLens
    from lazarus_probe.introspection.capture.model_hooks import CaptureConfig, ModelHooks, PositionSelection
    from lazarus_probe.introspection.circuits.circuit_files import read_circuit, write_circuit
    from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph
    from lazarus_probe.introspection.circuits.circuit_overlap import CircuitOverlap, circuit_overlap
    from lazarus_probe.introspection.circuits.circuit_search import CircuitSearch
    from lazarus_probe.introspection.circuits.drawing.circuit_drawing import circuit_svg
    from lazarus_probe.introspection.circuits.edges.edge_lists import read_edges
    from lazarus_probe.introspection.circuits.find_circuit import find_circuit
    from lazarus_probe.introspection.circuits.listed_circuit import listed_circuit
    from lazarus_probe.introspection.directions.direction_file import (
        Direction,
        read_direction,
        write_direction,
    )
    from lazarus_probe.introspection.directions.erase_concept import erase_concept
    from lazarus_probe.introspection.editing.rank_one_edit import rank_one_edit
    from lazarus_probe.introspection.geometry.residual_stream import residual_stream
    from lazarus_probe.introspection.geometry.sinks import attention_sinks
    from lazarus_probe.introspection.lens.analysis import AnalysisResult
    from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy
    from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
    from lazarus_probe.introspection.lens.tuned_lens import TunedLens, read_lens, write_lens
    from lazarus_probe.introspection.patching.aligned_subspace import aligned_subspace
    from lazarus_probe.introspection.patching.attention_knockout import attention_knockout
    from lazarus_probe.introspection.patching.causal_tracing import causal_trace
    from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
    from lazarus_probe.introspection.patching.rotations import principal_angles
    from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt

__all__ = [
    "AblationConfig",
    "AblationStudy",
    "AblationType",
    "AnalysisConfig",
    "AnalysisResult",
    "CaptureConfig",
    "CircuitGraph",
    "CircuitOverlap",
    "CircuitSearch",
    "ComponentType",
    "Direction",
    "LayerStrategy",
    "LogitLens",
    "ModelAnalyzer",
    "ModelHooks",
    "PositionSelection",
    "PromptPair",
    "SpannedPrompt",
    "TunedLens",
    "aligned_subspace",
    "attention_knockout",
    "attention_sinks",
    "causal_trace",
    "circuit_overlap",
    "circuit_svg",
    "erase_concept",
    "find_circuit",
    "function_vectors",
    "head_circuits",
    "layer_edits",
    "listed_circuit",
    "principal_angles",
    "rank_one_edit",
    "read_circuit",
    "read_direction",
    "read_edges",
    "read_lens",
    "residual_stream",
    "self_repair",
    "write_circuit",
    "write_direction",
    "write_lens",
]

_HOMES = {
    "AblationConfig": "introspection.ablation.config",
    "AblationStudy": "introspection.ablation.study",
    "AblationType": "introspection.ablation.config",
    "AnalysisConfig": "introspection.lens.analysis_config",
    "AnalysisResult": "introspection.lens.analysis",
    "CaptureConfig": "introspection.capture.model_hooks",
    "CircuitGraph": "introspection.circuits.circuit_graph",
    "CircuitOverlap": "introspection.circuits.circuit_overlap",
    "CircuitSearch": "introspection.circuits.circuit_search",
    "ComponentType": "introspection.ablation.config",
    "Direction": "introspection.directions.direction_file",
    "LayerStrategy": "introspection.lens.analysis_config",
    "LogitLens": "introspection.capture.evolution",
    "ModelAnalyzer": "introspection.lens.analyzer",
    "ModelHooks": "introspection.capture.model_hooks",
    "PositionSelection": "introspection.capture.model_hooks",
    "PromptPair": "introspection.patching.prompt_pairs",
    "SpannedPrompt": "introspection.patching.spanned_prompts",
    "TunedLens": "introspection.lens.tuned_lens",
    "aligned_subspace": "introspection.patching.aligned_subspace",
    "attention_knockout": "introspection.patching.attention_knockout",
    "attention_sinks": "introspection.geometry.sinks",
    "causal_trace": "introspection.patching.causal_tracing",
    "circuit_overlap": "introspection.circuits.circuit_overlap",
    "circuit_svg": "introspection.circuits.drawing.circuit_drawing",
    "erase_concept": "introspection.directions.erase_concept",
    "find_circuit": "introspection.circuits.find_circuit",
    "function_vectors": "introspection.attribution.function_vectors",
    "head_circuits": "introspection.attribution.head_circuits",
    "layer_edits": "introspection.ablation.layer_edits",
    "rank_one_edit": "introspection.editing.rank_one_edit",
    "principal_angles": "introspection.patching.rotations",
    "read_circuit": "introspection.circuits.circuit_files",
    "read_direction": "introspection.directions.direction_file",
    "listed_circuit": "introspection.circuits.listed_circuit",
    "read_edges": "introspection.circuits.edges.edge_lists",
    "read_lens": "introspection.lens.tuned_lens",
    "residual_stream": "introspection.geometry.residual_stream",
    "self_repair": "introspection.attribution.self_repair",
    "write_circuit": "introspection.circuits.circuit_files",
    "write_direction": "introspection.directions.direction_file",
    "write_lens": "introspection.lens.tuned_lens",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
