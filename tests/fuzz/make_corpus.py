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
    request[45:53] = b'RNU1\x0f\0\0\0'
    seed('connect_request', 'capabilities', request)
    seed('connect_response', 'accept', vector('msg-conn-rsp'))
    seed('connect_response', 'reject',
         bytes.fromhex('bd1b0002efff') + bytes(50))
    response = bytearray(vector('msg-conn-rsp'))
    response[20:28] = b'RNU1\x0f\0\0\0'
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
                      ('response_inv', 0x20100000), ('heartbeat', 0x80000000),
                      ('fence', 0xa1abcd07), ('fence_done', 0xb1abcd07),
                      ('notice', 0xc0000005), ('notice_ack', 0xd0000005)):
        seed('immediate', name, struct.pack('>I', imm) + struct.pack('<H', 512))


# FPDUs by what they are. The STag a1b2c3d4 is that of fpdu_fuzzer.cc.
FPDUS = {
    'send': '''001a4143 00000000 00000000 00000001 00000000 1122334455667788
               4408f791''',
    'write': '''001ec140 a1b2c3d4 0000000000001000
                000102030405060708090a0b0c0d0e0f 6f7cbea7''',
    'immediate': '''001a4148 00000000 00000000 00000002 00000000
                    2000000500000000 2793ab4b''',
    'send_invalidate': '''00124144 a1b2c3d4 00000000 00000004 00000000
                          4d82685e''',
    'rtr': '000ec140 00000000 0000000000000000 a30572ab',
    'terminate': '''00264147 00000000 00000002 00000001 00000000 1100c000
                    001ec140 a1b2c3d4 00007f1234567000 04cc5006''',
    'send_padded': '''00174143 00000000 00000000 00000001 00000000 68656c6c
                      6f000000 b990b10c''',
    'paired_immediate': '''001a4148 00000000 00000000 00000003 00000000
                           2000000500000001 41281289''',
    'paired_send': '''001a4143 00000000 00000000 00000004 00000000
                      0400050078563412 7548a8bc''',
    'write_first': '00168140 a1b2c3d4 0000000000001000 0000000000000000 4a98c5e4',
    'write_last': '0011c140 a1b2c3d4 0000000000001008 01020300 7ca65104',
}


def with_msn(fpdu, msn):
    return fpdu[:12] + struct.pack('>I', msn) + fpdu[16:]


def fpdu_stream(names):
    """The FPDUs one behind the other, with message numbers as they must be."""
    stream = b''
    msn = 1
    for name in names.split():
        fpdu = bytes.fromhex(FPDUS[name])
        if not fpdu[2] & 0x80 and name != 'terminate':
            fpdu = with_msn(fpdu, msn)
            msn += 1
        stream += fpdu
    return stream


def iwarp():
    crc, seal, paired = 1, 2, 4
    for name, names in (
            ('write_immediate', 'rtr write immediate'),
            ('send', 'rtr send send_padded'),
            ('paired', 'paired_immediate paired_send'),
            ('segments', 'write_first write_last immediate'),
            ('invalidate', 'send send_invalidate'),
            ('terminate', 'send terminate')):
        stream = fpdu_stream(names)
        seed('fpdu', name, bytes([paired, 1]) + stream)
        seed('fpdu', name + '_crc', bytes([crc | seal | paired, 2]) + stream)
    # A large write, which is received straight into its memory.
    large = bytes.fromhex('4e2ec140 a1b2c3d4 0000000000000000')
    seed('fpdu', 'large', bytes([0, 3]) + large + bytes(20000) + bytes(4))
    seed('terminate', 'stag', bytes.fromhex(FPDUS['terminate'])[20:-4])
    seed('terminate', 'crc', bytes.fromhex('20020000'))
    seed('terminate', 'no_buffer', bytes.fromhex(
        '1202c000 001a4143 00000000 00000000 00000007 00000000'))

    request = vector('msg-conn-req-first')
    response = vector('msg-conn-rsp')
    seed('mpa', 'request_1', b'MPA ID Req Frame' +
         bytes.fromhex('00010038') + request)
    seed('mpa', 'request_2', b'MPA ID Req Frame' + bytes.fromhex(
        '50020044 80008000 53574631 0007fd00') + request)
    seed('mpa', 'reply', b'MPA ID Rep Frame' + bytes.fromhex(
        '50020044 80008000 53574631 0007fd00') + response)
    seed('mpa', 'reject', b'MPA ID Rep Frame' + bytes.fromhex('20010000'))


def roce():
    ip_and_udp = 28
    for path in sorted((DATA / 'vectors').glob('pkt-*.hex')):
        seed('roce_packet', path.stem, vector(path.stem)[ip_and_udp:])


def roce_queue_pair():
    """Records: which fields are made right, length, BTH and what follows it."""
    def record(opcode, *rest, right=0x0F, flags=0):
        packet = bytes([opcode, flags]) + bytes(10) + b''.join(rest)
        return struct.pack('>BH', right, len(packet)) + packet

    def reth(offset, length):
        return struct.pack('>HIHII', offset, 0, 0, 0, length)

    imm = bytes(4)
    seed('roce_queue_pair', 'write', record(0x0A, reth(16, 8), bytes(8)))
    seed('roce_queue_pair', 'write_imm', record(0x0B, reth(0, 8), imm, bytes(8)))
    seed('roce_queue_pair', 'write_edge', record(0x0A, reth(8188, 8), bytes(8)))
    seed('roce_queue_pair', 'write_in_pieces',
         record(0x06, reth(0, 2056), bytes(1024)) + record(0x07, bytes(1024), right=7)
         + record(0x08, bytes(8), right=7))
    seed('roce_queue_pair', 'sends', record(0x04, bytes(5), right=7, flags=0x30)
         + record(0x05, imm, bytes(8), right=7) + record(0x17, imm, right=7))
    seed('roce_queue_pair', 'acks', record(0x11, bytes(4), right=5)
         + record(0x11, bytes([0x60, 0, 0, 0]), right=5))
    seed('roce_queue_pair', 'management', record(
        0x64, bytes([0x80, 1, 0, 0, 0, 0, 0, 1]), bytes([1, 7, 2, 3]), bytes(252), right=4))


def pcap():
    """The begin of captures: set-up and the first requests."""
    for name, source in (('roce', 'rnbd-mtu4200-invN'), ('iwarp', 'softiwarp')):
        capture = (DATA / 'pcap' / (source + '.pcap')).read_bytes()
        at = 24
        for _ in range(45):
            at += 16 + struct.unpack_from('<I', capture, at + 8)[0]
        seed('pcap', name, capture[:at])


def base():
    for name, text in (('ipv4', 'ip:192.0.2.1'),
                       ('pair', 'ip:192.0.2.1@ip:192.0.2.2'),
                       ('comma', 'ip:2001:db8::1,ip:2001:db8::2'),
                       ('gid', 'gid:fe80::1@gid:fe80::2')):
        seed('path_spec', name, text.encode())


if __name__ == '__main__':
    wire()
    base()
    iwarp()
    roce()
    roce_queue_pair()
    pcap()
