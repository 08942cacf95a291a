// GLASSNET_ASAN is defined where AddressSanitizer watches, whichever compiler put it there.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define GLASSNET_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GLASSNET_ASAN 1
#endif
#endif
#if defined(GLASSNET_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
