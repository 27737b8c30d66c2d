"""The page ends no request in a traceback: what nobody foresaw becomes one plain sentence, and a line in the log."""

from __future__ import annotations

import copy
import errno
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.blocks import BlockFunction
from gradio.state_holder import SessionState

from app.guard import DISK_FULL, INTERNAL, NOT_UNDERSTOOD

logger = logging.getLogger(__name__)


class PlainBlocks(gr.Blocks):
    """Gradio's page, with a sentence for whatever goes wrong in its own checks, in a handler or in showing a result."""

    on_failure: Callable[[str], None] | None = None  # called with the name of a request that failed

    async def process_api(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Run one event; anything raised is a `gr.Error` with a sentence, which Gradio does not print."""
        try:
            return await super().process_api(*arguments, **named)
        except Exception as error:
            if self.on_failure is not None:
                self.on_failure(request_name(named.get("request")))
            raise _sentence(error) from None

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: list | dict, state: SessionState | None
    ) -> list:
        """Bring results into the page's form; what is to stay as it is goes past Gradio, which would make it anew.

        That takes about 10 ms a component, and a run that shows its progress leaves most of them as they are.
        """
        several = isinstance(predictions, list | tuple) and len(predictions) == len(block_fn.outputs) > 1
        changed = [i for i, one in enumerate(predictions) if not _stays(one)] if several else []
        if not several or len(changed) == len(predictions):
            return await super().postprocess_data(block_fn, predictions, state)
        done: list = [None if block.stateful else gr.skip() for block in block_fn.outputs]
        if changed:
            part = copy.copy(block_fn)
            part.outputs = [block_fn.outputs[i] for i in changed]
            values = [predictions[i] for i in changed]
            fresh = await super().postprocess_data(part, values if len(values) > 1 else values[0], state)
            for i, value in zip(changed, fresh, strict=True):
                done[i] = value
        return done


def _stays(prediction: Any) -> bool:
    """Whether a result is `gr.skip()` and no more."""
    return isinstance(prediction, dict) and prediction == gr.skip()


def request_name(request: gr.Request | None) -> str:
    """Return the name that the guard gave a request; "" for one that did not come over HTTP."""
    return request.headers.get("x-request-id", "") if request is not None and request.request else ""


def _sentence(error: Exception) -> gr.Error:
    if isinstance(error, gr.Error) and not error.print_exception:  # ours
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        logger.error("the disk is full", exc_info=error)
        return gr.Error(DISK_FULL, title="Sorry", print_exception=False)
    if isinstance(error, gr.Error | ValueError | TypeError | KeyError | AttributeError) and _before_handler(error):
        logger.warning("request not understood", exc_info=error)
        return gr.Error(NOT_UNDERSTOOD, title="Please check", print_exception=False)
    logger.error("a handler failed", exc_info=error)
    return gr.Error(INTERNAL, title="Sorry", print_exception=False)


def _before_handler(error: Exception) -> bool:
    """Whether it was raised while Gradio read the request, not by a handler or after it."""
    trace, names = error.__traceback__, set()
    while trace is not None:
        names.add(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return not names & {"call_function", "postprocess_data"}
