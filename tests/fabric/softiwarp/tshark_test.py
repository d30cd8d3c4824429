#!/usr/bin/env python3
"""A foreign dissector reads softiwarp's traffic without a complaint.

usage: tshark_test.py TRAFFIC

Captures a loopback run of the program TRAFFIC and asks tshark about it:
spec/iwarp.md section 9. Exits 77 (skipped) where capturing is not possible.
"""
import collections
import os
import shutil
import subprocess
import sys
import tempfile
import time

DEADLINE = 60  # seconds, against hangs
# These two take the payload of Sends for their own.
DISSECTORS = ["--disable-protocol", "smb_direct",
              "--disable-protocol", "rpcordma",
              "-o", "tcp.try_heuristic_first:TRUE"]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def tshark(capture, *arguments):
    return subprocess.run(
        ["tshark", "-n", "-r", capture, *DISSECTORS, *arguments],
        check=True, timeout=DEADLINE, capture_output=True, text=True).stdout


def capture_run(traffic, capture):
    """Runs `traffic` under tcpdump; returns the server's port."""
    program = subprocess.Popen([traffic], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    port = int(program.stdout.readline())
    tcpdump = subprocess.Popen(
        ["tcpdump", "-i", "lo", "-U", "--immediate-mode", "-B", "65536",
         "-s", "0", "-Z", "root", "-w", capture, f"tcp port {port}"],
        stderr=subprocess.PIPE, text=True)
    try:
        for line in tcpdump.stderr:
            if "listening on" in line:
                break
        else:
            program.kill()
            program.wait()
            skip("tcpdump cannot capture on lo here")
        program.communicate("go\n", timeout=DEADLINE)
        assert program.returncode == 0, "the run itself failed"
        # The capture is whole when both ends have ended their halves.
        limit = time.monotonic() + DEADLINE
        while time.monotonic() < limit:
            ends = subprocess.run(
                ["tcpdump", "-n", "-r", capture,
                 "tcp[tcpflags] & (tcp-fin | tcp-rst) != 0"],
                capture_output=True, text=True).stdout
            if len(ends.splitlines()) >= 2:
                return port
            time.sleep(0.05)
        raise AssertionError("the capture never saw the end")
    finally:
        tcpdump.terminate()
        tcpdump.wait()


def main():
    for tool in ("tshark", "tcpdump"):
        if shutil.which(tool) is None:
            skip(f"{tool} is not installed")
    with tempfile.TemporaryDirectory() as directory:
        capture = os.path.join(directory, "softiwarp.pcap")
        port = capture_run(sys.argv[1], capture)

        text = tshark(capture, "-V")
        assert "Malformed" not in text, "tshark found a malformed packet"
        assert "Bad CRC32" not in text, "tshark found a bad CRC"
        good = text.count("Good CRC32")

        rows = tshark(capture, "-T", "fields", "-E", "separator=/t",
                      "-e", "tcp.srcport", "-e", "iwarp_mpa.marker_flag",
                      "-e", "iwarp_mpa.crc_flag", "-e", "iwarp_mpa.rev",
                      "-e", "iwarp_mpa.ulpdulength", "-e", "iwarp_rdma.opcode",
                      "-e", "iwarp_ddp.qn", "-e", "iwarp_ddp.msn")
        setups = 0
        fpdus = 0
        opcodes = collections.Counter()
        sequence = collections.defaultdict(list)
        terminates = 0
        for row in rows.splitlines():
            source, marker, crc, rev, length, opcode, qn, msn = row.split("\t")
            if rev:
                setups += 1
                # Booleans are 0 and 1, or False and True, by version.
                assert marker in ("0", "False"), f"markers: {row}"
                assert crc in ("1", "True"), f"no CRC: {row}"
                assert rev == "2", f"revision: {row}"
            fpdus += len([x for x in length.split(",") if x])
            opcodes.update(int(x, 0) for x in opcode.split(",") if x)
            for queue, number in zip(qn.split(","), msn.split(",")):
                if queue == "":
                    continue
                if int(queue, 0) == 2:
                    terminates += 1
                    continue
                assert int(queue, 0) == 0, f"queue number: {row}"
                numbers = sequence[int(source)]
                # The segments of one message share a number.
                if not numbers or numbers[-1] != int(number, 0):
                    numbers.append(int(number, 0))
        print(f"{fpdus} FPDUs, {good} good CRCs, opcodes {dict(opcodes)}")
        assert setups == 2, f"{setups} set-up frames"
        assert terminates == 1, f"{terminates} Terminates"
        assert good == fpdus, f"{fpdus} FPDUs but {good} good CRCs"
        assert sum(opcodes.values()) == fpdus
        assert set(opcodes) == {0, 3, 4, 5, 7, 8, 9}, f"opcodes {opcodes}"
        assert len(sequence) == 2 and port in sequence
        for source, numbers in sequence.items():
            # 5 Sends, 5 immediates of Writes, 4 Sends with immediate of two
            # messages each, 1 Send with invalidate.
            assert numbers == list(range(1, 20)), f"{source}: MSNs {numbers}"


if __name__ == "__main__":
    main()
