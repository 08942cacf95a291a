"""scripts/gpu-check on a machine that is made up: an nvidia-smi, a compute-sanitizer and programs
that say what real ones would. What it counts, and when it ends with 1, is what is tested here.

    python3 tests/gpu_check_test.py
"""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "scripts" / "gpu-check"
SHEBANG = f"#!{sys.executable}\n"

NVIDIA_SMI = SHEBANG + 'print("NVIDIA H100 80GB HBM3, 580.10, 9.0, 81559")\n'
SANITIZER = SHEBANG + '''
import subprocess, sys
tool, command = sys.argv[2], sys.argv[3:]
print("========= COMPUTE-SANITIZER", flush=True)
subprocess.run(command)
if tool == "racecheck":
    print("========= Error: Device not supported. See the documentation")
wrong = any("DeviceGood" in word for word in command)
print(f"========= ERROR SUMMARY: {int(wrong)} error(s)")
'''
TESTS = SHEBANG + '''
import json, os, sys
if "--gtest_list_tests" in sys.argv:
    if "NONE" in os.environ:
        sys.exit(print("DeviceAway.\\n  A"))
    print("DeviceGood.\\n  A\\n  B\\nPlain.\\n  A\\nRow/DeviceRow.\\n  A/0  # 1.5\\nDeviceAway.\\n  A")
    print("DeviceBad.\\n  A\\nDeviceCrash/0.  # TypeParam = float\\n  A" if "BAD" in os.environ else "")
    sys.exit()
options = dict(word.split("=", 1) for word in sys.argv[1:])
suite = options["--gtest_filter"].removesuffix(".*")
if suite == "DeviceCrash/0":
    os.abort()
test = {"name": "A", "classname": suite, "status": "RUN", "result": "COMPLETED"}
if suite == "DeviceAway":
    test |= {"result": "SKIPPED"}
    print("somewhere_test.cpp:30: Skipped\\nno second GPU\\n")
if suite == "DeviceBad":
    test |= {"failures": [{"failure": "2 is not 3", "type": ""}]}
if "--gtest_output" in options:
    with open(options["--gtest_output"].removeprefix("json:"), "w") as file:
        json.dump({"testsuites": [{"name": suite, "testsuite": [test]}]}, file)
print("[  SKIPPED ]" if suite == "DeviceAway" else "[       OK ]")
sys.exit(suite == "DeviceBad")
'''
BENCH = SHEBANG + '''
import json, sys
options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
after = lambda name: sys.argv[sys.argv.index(name) + 1]
rows = []
for what in ("forward", "train"):
    name = f"{what}/resnet50/{after('--image-size')}px/batch:256/{after('--precision')}/graph"
    row = {"name": name + "/iterations:5/manual_time"}
    if what == "train":
        row |= {"error_occurred": True, "error_message": "[cuda] too little memory"}
    else:
        row |= {"images/s": 512.5, "ms": 499.5, "ms_min": 499, "ms_max": 500, "peak_MiB": 5}
    rows.append(row)
with open(options["--benchmark_out"], "w") as file:
    json.dump({"benchmarks": rows}, file)
'''


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        # A copy, so that no run touches the sources' own build folder.
        (self.folder / "scripts").mkdir()
        shutil.copy(SCRIPT, self.folder / "scripts")
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.program(self.bin / "nvidia-smi", NVIDIA_SMI)
        self.program(self.bin / "compute-sanitizer", SANITIZER)
        bundle = self.folder / "build" / "gpu-bundle"
        bundle.mkdir(parents=True)
        (bundle / "contents.txt").write_text("commit abc123\n")
        for archive, programs in (("third-party", {}), ("programs", {
                "glassnet": SHEBANG, "glassnet_tests": TESTS, "glassnet_bench": BENCH})):
            with tarfile.open(bundle / f"{archive}.tar.xz", "w:xz") as tar:
                for name, text in programs.items():
                    self.program(self.folder / name, text)
                    tar.add(self.folder / name, name)

    @staticmethod
    def program(path, text):
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def check(self, *options, **environment):
        """-> (exit status, what it printed, the JSON)"""
        out = self.folder / "out" / "result.json"
        done = subprocess.run(
            [sys.executable, self.folder / "scripts" / "gpu-check", "--out", out, *options],
            capture_output=True, text=True, check=False,
            env=os.environ | {"PATH": f"{self.bin}:{os.environ['PATH']}"} | environment)
        result = json.loads(out.read_text()) if out.exists() else None
        return done.returncode, done.stdout + done.stderr, result

    def test_counts_and_succeeds(self):
        (self.bin / "compute-sanitizer").unlink()
        status, text, result = self.check("--prebuilt", "--quick", "--only", "tests,bench")
        self.assertEqual(status, 0, text)
        tests = result["tests"]
        self.assertEqual((tests["passed"], tests["failed"], tests["skipped"]), (2, 0, 1))
        self.assertEqual([one["suite"] for one in tests["suites"]],
                         ["DeviceGood", "Row/DeviceRow", "DeviceAway"])
        self.assertEqual(tests["suites"][2]["why_skipped"], "no second GPU")
        self.assertEqual(result["gpu"], "NVIDIA H100 80GB HBM3")
        self.assertEqual(result["commit"], "abc123")
        self.assertIn("2 passed, 0 failed, 1 skipped", text)

    def test_benchmarks_that_fit_are_kept(self):
        _, text, result = self.check("--prebuilt", "--quick", "--only", "bench")
        ours = [row for row in result["bench"] if row["who"] == "glassnet"]
        self.assertEqual([(row["what"], row["precision"], row.get("images_per_s")) for row in ours],
                         [("forward", "bf16", 512.5), ("train", "bf16", None),
                          ("forward", "fp16", 512.5), ("train", "fp16", None)])
        self.assertIn("too little memory", text)

    def test_fails_with_a_failing_test_and_one_that_crashes(self):
        status, _, result = self.check("--prebuilt", "--quick", "--only", "tests", BAD="1")
        self.assertEqual(status, 1)
        self.assertEqual(result["tests"]["failed"], 2)
        failures = {one["test"]: one["message"] for one in result["tests"]["failures"]}
        self.assertEqual(failures["DeviceBad.A"], "2 is not 3")
        self.assertIn("ended with -6", failures["DeviceCrash/0"])

    def test_fails_when_every_test_is_skipped(self):
        status, _, result = self.check("--prebuilt", "--quick", "--only", "tests", NONE="1")
        self.assertEqual(status, 1)
        self.assertEqual(result["tests"]["failures"][0]["message"], "none ran: no second GPU")

    def test_sanitizer_tells_errors_from_not_running(self):
        status, _, result = self.check("--prebuilt", "--quick", "--only", "sanitizer")
        self.assertEqual(status, 1)
        memcheck, racecheck = result["sanitizer"]["memcheck"], result["sanitizer"]["racecheck"]
        self.assertEqual((memcheck["status"], memcheck["errors"]), ("errors", 1))
        self.assertEqual(memcheck["findings"][0]["suite"], "DeviceGood")
        self.assertEqual((racecheck["status"], racecheck["errors"]), ("not run", None))
        self.assertIn("Device not supported", racecheck["why"])

    def test_says_in_a_sentence_that_there_is_no_gpu(self):
        self.program(self.bin / "nvidia-smi", SHEBANG + "import sys; sys.exit(9)\n")
        status, text, result = self.check()
        self.assertEqual(status, 1)
        self.assertIsNone(result)
        self.assertRegex(text, r"\Agpu-check: there is no GPU to check on: [^\n]*\n\Z")

    def test_leaves_out_what_there_is_no_time_for(self):
        _, _, result = self.check("--prebuilt", "--minutes", "0")
        self.assertTrue(result["bench"])
        self.assertTrue(all("not reached" in row["error"] for row in result["bench"]))
        self.assertEqual(result["sanitizer"]["memcheck"]["status"], "not run")
        self.assertEqual(result["tests"]["passed"], 2)


if __name__ == "__main__":
    unittest.main()
