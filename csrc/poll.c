#include "poll.h"

_Thread_local lw_poll_target *lw_poll_innermost;
