// UTF-8 checking. Pure functions over any bytes, no alignment needed.
#pragma once

#include <string_view>

namespace segue {

bool IsAscii(std::string_view bytes);  // 8 bytes a step
bool IsUtf8(std::string_view bytes);   // RFC 3629: no overlong forms, no surrogates, at most U+10FFFF

}  // namespace segue
