/* softmix.hpp where min and max are macros, as after <windows.h>. Usage: macros. */
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#include "softmix.hpp"

int main()
{
    return softmix::detail::product(6, 7) == 42 ? 0 : 1;
}
