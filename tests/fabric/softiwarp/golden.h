// The byte-exact examples of spec/iwarp.md §7, which a foreign dissector has
// confirmed.
#ifndef TESTS_FABRIC_SOFTIWARP_GOLDEN_H_
#define TESTS_FABRIC_SOFTIWARP_GOLDEN_H_

namespace rtrs::fabric::softiwarp::golden {

// E1 and E2: Request and Reply of revision 1, 56 bytes of data follow.
inline constexpr char kRequestRev1[] =
    "4d 50 41 20 49 44 20 52 65 71 20 46 72 61 6d 65 00 01 00 38";
inline constexpr char kReplyRev1[] =
    "4d 50 41 20 49 44 20 52 65 70 20 46 72 61 6d 65 00 01 00 38";
// E2b.
inline constexpr char kReject[] =
    "4d 50 41 20 49 44 20 52 65 70 20 46 72 61 6d 65 20 01 00 00";
// E3: our Request, 56 bytes of data follow.
inline constexpr char kRequest[] =
    "4d 50 41 20 49 44 20 52 65 71 20 46 72 61 6d 65 50 02 00 44 80 00 80 00 "
    "53 57 46 31 00 07 fd 00";
// E4: Send of 8 bytes, MSN 1.
inline constexpr char kSend[] =
    "00 1a 41 43 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 11 22 33 44 "
    "55 66 77 88 44 08 f7 91";
// E5: Write of 16 bytes, without and with CRC.
inline constexpr char kWriteNoCrc[] =
    "00 1e c1 40 a1 b2 c3 d4 00 00 7f 12 34 56 70 00 00 01 02 03 04 05 06 07 "
    "08 09 0a 0b 0c 0d 0e 0f 00 00 00 00";
inline constexpr char kWrite[] =
    "00 1e c1 40 a1 b2 c3 d4 00 00 7f 12 34 56 70 00 00 01 02 03 04 05 06 07 "
    "08 09 0a 0b 0c 0d 0e 0f 6f 7c be a7";
// E6: Immediate Data, MSN 2; E6b: with SE, MSN 3, no CRC.
inline constexpr char kImmediate[] =
    "00 1a 41 48 00 00 00 00 00 00 00 00 00 00 00 02 00 00 00 00 20 00 00 05 "
    "00 00 00 00 27 93 ab 4b";
inline constexpr char kImmediateSolicited[] =
    "00 1a 41 49 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00 00 20 00 00 05 "
    "00 00 00 00 00 00 00 00";
// E7: Send with Invalidate, MSN 4.
inline constexpr char kSendInvalidate[] =
    "00 12 41 44 a1 b2 c3 d4 00 00 00 00 00 00 00 04 00 00 00 00 4d 82 68 5e";
// E8: the RTR.
inline constexpr char kRtr[] =
    "00 0e c1 40 00 00 00 00 00 00 00 00 00 00 00 00 a3 05 72 ab";
// E9, E10, E11, E11b: Terminates.
inline constexpr char kTerminateStag[] =
    "00 26 41 47 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 00 11 00 c0 00 "
    "00 1e c1 40 a1 b2 c3 d4 00 00 7f 12 34 56 70 00 04 cc 50 06";
inline constexpr char kTerminateNoBuffer[] =
    "00 2a 41 47 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 00 12 02 c0 00 "
    "00 1a 41 43 00 00 00 00 00 00 00 00 00 00 00 07 00 00 00 00 e7 1e cb 71";
inline constexpr char kTerminateCrc[] =
    "00 16 41 47 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 00 20 02 00 00 "
    "7f e4 25 85";
inline constexpr char kTerminateOpcode[] =
    "00 2a 41 47 00 00 00 00 00 00 00 02 00 00 00 01 00 00 00 00 02 06 c0 00 "
    "00 1a 41 48 00 00 00 00 00 00 00 00 00 00 00 02 00 00 00 00 6a 16 44 ea";
// E12: Send of "hello", 3 bytes of pad.
inline constexpr char kSendHello[] =
    "00 17 41 43 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 68 65 6c 6c "
    "6f 00 00 00 b9 90 b1 0c";
// E13: SEND with immediate, MSN 3 and 4.
inline constexpr char kPairedImmediate[] =
    "00 1a 41 48 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00 00 20 00 00 05 "
    "00 00 00 01 41 28 12 89";
inline constexpr char kPairedSend[] =
    "00 1a 41 43 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 04 00 05 00 "
    "78 56 34 12 75 48 a8 bc";
// E14: one Write in two segments.
inline constexpr char kWriteFirst[] =
    "00 16 81 40 a1 b2 c3 d4 00 00 00 00 00 00 10 00 00 00 00 00 00 00 00 00 "
    "4a 98 c5 e4";
inline constexpr char kWriteLast[] =
    "00 11 c1 40 a1 b2 c3 d4 00 00 00 00 00 00 10 08 01 02 03 00 7c a6 51 04";

}  // namespace rtrs::fabric::softiwarp::golden

#endif  // TESTS_FABRIC_SOFTIWARP_GOLDEN_H_
