"""Writers that ask a language model: prompts, engines that run it, answers."""
