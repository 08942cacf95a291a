"""Programs that scripts take turns with to time them: Glassnet's are built for it, all answer a
line of their input with a line of numbers.
"""
import functools
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


@functools.cache
def build(target):
    """Builds one of bench/'s programs: -> its path"""
    subprocess.run(["bash", "-c", 'source scripts/common.sh && configure bench && '
                    'build bench "$1" >&2', "bash", target], cwd=ROOT, check=True)
    return ROOT / "build/bench" / target


class Peer:
    def __init__(self, *command, env=None):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {self.process.args[0]} ended with "
                     f"{self.process.wait()}")
        return text.strip()

    def ask(self, *question):
        print(*question, file=self.process.stdin, flush=True)
        return [float(word) for word in self.line().split()]
