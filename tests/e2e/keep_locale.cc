// Preloaded into nbdkit together with a sanitizer's runtime.
//
// With libasan preloaded, Debian 12's nbdkit (the null plugin will do) hangs in
// exit once it has printed an errno's text: the reader count of the C library's
// locale lock is then one too low, and the destructor of libp11-kit, which
// nbdkit has from GnuTLS, waits for that lock in freelocale. Nothing else here
// frees a locale, so nothing is lost by not doing it.
#include <locale.h>

extern "C" void freelocale(locale_t) noexcept {}
