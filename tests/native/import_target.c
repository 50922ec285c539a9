/* A shared object that calls a function of libc through an import slot; built in several ways. */
#include <unistd.h>

int target_call(void)
{
    return getppid();
}

pid_t (*target_take(void))(void)
{
    return getppid; /* with the call above, one slot of each kind where the linker makes two */
}
