#!/usr/bin/env python3
"""Writes the seed corpora tests/data/corpus/<target>/ from tests/data/vectors.

Run it when a vector or a target is added; the result is kept in the tree.
"""
import pathlib
import struct

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data'


def vector(name):
    text = (DATA / 'vectors' / (name + '.hex')).read_text()
    return bytes.fromhex(''.join(
        line for line in text.splitlines() if not line.startswith('#')))


def seed(target, name, data):
    directory = DATA / 'corpus' / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)


def wire():
    seed('connect_request', 'cid0', vector('msg-conn-req-first'))
    seed('connect_request', 'cid1', vector('msg-conn-req-second'))
    request = bytearray(vector('msg-conn-req-first'))
    request[45:53] = b'RNU1\x07\0\0\0'
    seed('connect_request', 'capabilities', request)
    seed('connect_response', 'accept', vector('msg-conn-rsp'))
    seed('connect_response', 'reject',
         bytes.fromhex('bd1b0002efff') + bytes(50))
    response = bytearray(vector('msg-conn-rsp'))
    response[20:28] = b'RNU1\x07\0\0\0'
    seed('connect_response', 'capabilities', response)
    seed('info_request', 'cap1', vector('msg-info-req'))
    session = struct.pack('<HI', 512, 131072)
    seed('info_response', 'region_per_chunk',
         session + vector('msg-info-rsp'))
    seed('info_response', 'one_region',
         session + vector('msg-info-rsp-noinv'))
    seed('rkey_response', 'chunk0', vector('msg-rkey-rsp'))

    write = vector('msg-write4k-headers')
    read = vector('msg-read4k')
    flush = vector('msg-flush')
    discard = vector('msg-discard')
    for name, request in (('write', write), ('read', read), ('flush', flush),
                          ('discard', discard)):
        seed('io', name, request[:32])
        seed('io_header', name, request[32:])
        # The same in a chunk of 8 KiB, where its immediate says.
        data_len = {'write': 4096, 'read': 4096}.get(name, 0)
        chunk = (bytes(data_len) + request).ljust(8192, b'\0')
        seed('server_request', name, struct.pack('<H', data_len + 32) + chunk)
    seed('sess_info', 'request', vector('msg-sess-info')[:36])
    seed('sess_info', 'response', vector('msg-sess-info-rsp'))
    seed('open', 'ram0', vector('msg-open')[:264])
    seed('open_rsp', 'ram0', vector('msg-open-rsp'))
    seed('open_rsp', 'write_back', vector('msg-open-rsp-wb'))
    seed('close', 'device0', vector('msg-close')[:8])
    for name, imm in (('request', 0x00281020), ('response', 0x10280005),
                      ('response_inv', 0x20100000), ('heartbeat', 0x80000000)):
        seed('immediate', name, struct.pack('>I', imm) + struct.pack('<H', 512))


def base():
    for name, text in (('ipv4', 'ip:192.0.2.1'),
                       ('pair', 'ip:192.0.2.1@ip:192.0.2.2'),
                       ('comma', 'ip:2001:db8::1,ip:2001:db8::2'),
                       ('gid', 'gid:fe80::1@gid:fe80::2')):
        seed('path_spec', name, text.encode())


if __name__ == '__main__':
    wire()
    base()
