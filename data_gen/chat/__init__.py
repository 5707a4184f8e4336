"""Writers over a language model: one writer, and engines that run the model."""

from data_gen.chat.engine import Call, ChatEngine, Reply, Sampling
from data_gen.chat.writer import ChatWriter

__all__ = ["Call", "ChatEngine", "ChatWriter", "Reply", "Sampling"]
