"""Prompt sets with groups: what a model is asked, and how its answer is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.tasks.arithmetic import Fact, facts, is_answer, number_words, parse_number
    from lazarus_probe.tasks.in_context import WordTask
    from lazarus_probe.tasks.prompts import Question, matched_questions, questions, sample_facts, task_type
    from lazarus_probe.tasks.rewards import arithmetic_reward, parse_question
    from lazarus_probe.tasks.strategies import arithmetic_slices, pair_slices

__all__ = [
    "Fact",
    "Question",
    "WordTask",
    "arithmetic_reward",
    "arithmetic_slices",
    "facts",
    "is_answer",
    "matched_questions",
    "number_words",
    "pair_slices",
    "parse_number",
    "parse_question",
    "questions",
    "sample_facts",
    "task_type",
]

_HOMES = {
    "Fact": "tasks.arithmetic",
    "Question": "tasks.prompts",
    "WordTask": "tasks.in_context",
    "arithmetic_reward": "tasks.rewards",
    "arithmetic_slices": "tasks.strategies",
    "facts": "tasks.arithmetic",
    "is_answer": "tasks.arithmetic",
    "matched_questions": "tasks.prompts",
    "number_words": "tasks.arithmetic",
    "pair_slices": "tasks.strategies",
    "parse_number": "tasks.arithmetic",
    "parse_question": "tasks.rewards",
    "questions": "tasks.prompts",
    "sample_facts": "tasks.prompts",
    "task_type": "tasks.prompts",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
