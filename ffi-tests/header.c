/* The header alone, twice, and a use of everything in it that a compiler may warn about: for C99 to C17 and C++11 to C++20. */
#include "softmix.h"
#include "softmix.h"

#if SMX_VERSION_MAJOR < 0 || SMX_OK != 0 || SMX_NULL >= 0
#error "the numbers can be used by the preprocessor"
#endif

static int32_t progress(const smx_progress *now, void *user)
{
    return user != NULL && now->racing != 0;
}

int main(void)
{
    smx_fit_options options;
    smx_error error;
    smx_status status = smx_error_init(&error, sizeof error);
    smx_fit_options_init(&options, sizeof options);
    options.progress = progress;
    switch (status) {
    case SMX_OK:
    case SMX_NOT_FINITE:
        break;
    default:
        return 1;
    }
    return error.row == SMX_NONE && smx_version() / 1000 == SMX_VERSION_MAJOR * 1000 + SMX_VERSION_MINOR ? 0 : 1;
}
