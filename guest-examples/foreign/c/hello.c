// A command of the C tool chain (clang with wasi-libc): a wasip1 module.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  const char *greeting = getenv("GREETING");
  printf("hello from C: %d arguments, GREETING=%s\n", argc - 1, greeting ? greeting : "");
  return argc > 1 ? atoi(argv[1]) : 0;
}
