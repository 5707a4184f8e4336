"""What the framework itself costs: requests a second against a server that answers at once, and memory over a million concepts.

    python benchmarks/generate.py --json

Two measurements, one after the other, each in a process of its own:

1. `syncabel generate --writer openai` as a library call, on one core, against a real HTTP server on the other core that answers every
   chat at once with sentences of its own.  Prompts, requests, journal, parsing, gates, scores and files are all there; the clock
   runs from the first request to the finished folder; loading the language identifier (a second) comes before.
2. The same loop over KNOWLEDGE BASE of --concepts concepts with an engine in the same process that answers at once; the memory in use is
   read at every tenth of the way.  The knowledge base is made of the names of the shipped one, numbered.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from printing import show

from data_gen import Manifest, Surroundings, run
from data_gen.answers import answer_schema
from data_gen.chat.engine import Call, Reply, Sampling
from data_gen.chat.openai import OpenAIEngine
from data_gen.chat.writer import ChatWriter
from data_gen.gates import GateSettings, Judge, Scorer
from data_gen.prompts import PromptSettings
from syncabel.errors import SyncabelError
from syncabel.kb import About, KnowledgeBase
from syncabel.types import Concept, Name

TENTHS = 10
_NAME = re.compile(r'\{"concept": \{"name": ("(?:[^"\\]|\\.)*")')


@cache
def words() -> list[str]:
    """Words to fill sentences with: those of the shipped names."""
    names = (concept.preferred_name for concept in KnowledgeBase.load("doid").concepts())
    return sorted({word for name in names for word in name.split() if word.isalpha()})


def sentences(prompt: str, number: int, wanted: int) -> str:
    """An answer as a model might give it: sentences that differ in their words, so that no gate takes one for another."""
    found = _NAME.search(prompt)
    name = json.loads(found[1]) if found else "something"
    drawn = random.Random(number)
    rows = [
        {"mention": name, "sentence": f"On the {' '.join(drawn.choices(words(), k=7))} day we found [{name}] with {' and '.join(drawn.choices(words(), k=5))}."}
        for _ in range(wanted)
    ]
    return json.dumps({"sentences": rows})


def serve(port: Any, wanted: int, core: int) -> None:
    """A server of chat completions that answers at once."""
    os.sched_setaffinity(0, {core})
    asyncio.run(_serve(port, wanted))


async def _serve(port: Any, wanted: int) -> None:
    number = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = json.loads(await reader.readexactly(int(length[1]))) if length else {}
                number += 1
                writer.write(_response(body, number, wanted))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _response(body: dict[str, Any], number: int, wanted: int) -> bytes:
    prompt = body["messages"][-1]["content"] if "messages" in body else ""
    message = {"role": "assistant", "content": sentences(prompt, number, wanted)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 60 * wanted, "total_tokens": len(prompt) // 4 + 60 * wanted}
    answer = json.dumps({"id": f"c{number}", "object": "chat.completion", "created": 0, "model": "instant", "choices": [choice], "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)


class Instant:
    """An engine in this process that answers at once; tells the memory in use as it goes."""

    name, model, version, local = "instant", "instant", "instant 1", True

    def __init__(self, total: int, wanted: int) -> None:
        self.sampling, self.settings, self._total, self._wanted, self.memory_mb = Sampling(), dict[str, str](), total, wanted, list[float]()

    def replies(self, calls: Iterable[Call]) -> Iterator[Reply]:
        for number, call in enumerate(calls):
            if number % (self._total // TENTHS) == 0:
                self.memory_mb.append(memory_mb())
            yield Reply(call.key, sentences(call.messages[-1].content, number, self._wanted), finish="stop")


def memory_mb() -> float:
    """Memory of this process that no other has or can drop (anonymous pages), in megabytes."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows["RssAnon"].split()[0]) / 1024


def generated(kb: KnowledgeBase, engine: Any, codes: Sequence[str] | None, wanted: int, folder: Path) -> tuple[Manifest, float, float]:
    """The loop as the command line puts it together, without what is only looked up once; what was made, seconds, seconds of CPU."""
    prompts = PromptSettings(per_request=wanted, contrast=0.0, defined=0.0, several=0.0)
    writer, around, gates = ChatWriter(engine, prompts), Surroundings(kb, relatives=True), Judge.of(kb, GateSettings(cap=wanted))
    begun, used = time.perf_counter(), time.process_time()
    done = run(kb, writer, folder, per_concept=wanted, seed=0, codes=codes, surroundings=around, gates=gates, scorer=Scorer(kb))
    return done, time.perf_counter() - begun, time.process_time() - used


def measure_requests(count: int, wanted: int, concurrency: int) -> dict[str, Any]:
    """Requests a second, this process on one core and the server on the other."""
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[0], cores[-1]
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, wanted, theirs), daemon=True)
    server.start()
    port = here.recv()
    os.sched_setaffinity(0, {ours})
    kb = KnowledgeBase.load("doid")
    engine = OpenAIEngine(f"http://127.0.0.1:{port}/v1", "instant", Sampling(), schema=answer_schema(wanted), structured="json_schema", concurrency=concurrency)
    assert engine.version
    with tempfile.TemporaryDirectory() as folder:
        done, seconds, cpu = generated(kb, engine, kb.codes[:count], wanted, Path(folder) / "out")
    server.terminate()
    return {
        "requests": count,
        "sentences_per_request": wanted,
        "requests_per_s": round(count / seconds, 1),
        "cpu_ms_per_request": round(1000 * cpu / count, 2),
        "kept": done.kept,
        "rejected": dict(done.reasons),
        "missing": done.missing,
    }


def measure_memory(count: int) -> dict[str, Any]:
    """Memory over many concepts, one sentence each."""
    small = KnowledgeBase.load("doid")
    names = [concept.preferred_name for concept in small.concepts()]
    concepts = (Concept(f"X:{i:08}", (Name(f"{names[i % len(names)]} type {i // len(names)}", preferred=True),), ("Disease",)) for i in range(count))
    with tempfile.TemporaryDirectory() as place:
        KnowledgeBase.build(concepts, About("numbered names", "1", "CC0", redistributable=True)).save(Path(place) / "kb")
        # In a process of its own: what building took is not the run's.
        here, there = multiprocessing.Pipe()
        worker = multiprocessing.get_context("spawn").Process(target=_memory_run, args=(there, Path(place), count))
        worker.start()
        there.close()  # so that a worker that fails is the end of the waiting
        report: dict[str, Any] = here.recv()
        worker.join()
    return report


def _memory_run(report: Any, place: Path, count: int) -> None:
    kb = KnowledgeBase.load(place / "kb")
    engine = Instant(count, 1)
    done, seconds, _ = generated(kb, engine, None, 1, place / "out")
    after = memory_mb()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = {"concepts": count, "seconds": round(seconds, 1), "kept": done.kept, "peak_memory_mb": round(peak, 1)}
    report.send({**rows, "memory_mb_by_tenth": [round(mb, 1) for mb in engine.memory_mb], "memory_mb_at_the_end": round(after, 1)})


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}: give 1 or more")
    return number


def main() -> None:
    """Print requests a second and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=positive, default=4000)
    parser.add_argument("--sentences", type=positive, default=3, help="asked for in a request")
    parser.add_argument("--concurrency", type=positive, default=64)
    parser.add_argument("--concepts", type=positive, default=1_000_000, help="of the measurement of memory")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args()
    memory = measure_memory(args.concepts)
    speed = measure_requests(args.requests, args.sentences, args.concurrency)
    if args.json:
        show({"requests_per_s": speed["requests_per_s"], "peak_memory_mb": memory["peak_memory_mb"], "speed": speed, "memory": memory}, args.json)
        return
    show({"server that answers at once": speed, "engine that answers at once": memory}, args.json)


if __name__ == "__main__":
    try:
        main()
    except (SyncabelError, OSError, EOFError) as error:
        sys.exit(f"error: {error}")
