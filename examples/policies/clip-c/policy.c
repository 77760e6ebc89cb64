/* No answer is longer than so many characters. What is within them passes as it comes; the rest is left out.
 *
 * Setting `most`: how many; 2000 unless given. */
#include "parser.h"

#include <stdlib.h>

static uint32_t most;

const char *policy_configure(const witgate_setup *setup, witgate_needs *needs) {
  most = 2000;
  const witgate_setting known[] = {{.name = "most", .range = "1 to 1000000", .least = 1, .most = 1000000, .whole = &most}};
  /* Of all that a model gives, the text alone; nothing of one reply is remembered at the next. */
  *needs = (witgate_needs){.deltas = WITGATE_TEXTS, .pure = true};
  return witgate_read_settings(setup->settings, known, 1);
}

/* Of one answer is known how many characters are left. */
void *policy_open(const witgate_about *about) {
  (void)about;
  uint32_t *left = malloc(sizeof *left);
  if (!left) abort();
  *left = most;
  return left;
}

void policy_push(void *reply, const witgate_delta *delta, witgate_deltas *deltas) {
  uint32_t *left = reply;
  witgate_delta passed = *delta;
  if (passed.kind == WITGATE_TEXT) {
    size_t end = 0;
    for (; end < passed.text.length; end++) {
      /* A character begins with each byte that continues none. */
      bool begins = ((unsigned char)passed.text.at[end] & 0xC0) != 0x80;
      if (begins && *left == 0) break;
      *left -= begins;
    }
    passed.text.length = end;
    if (end == 0) return;
  }
  witgate_add(deltas, passed);
}

const char *policy_finish(void *reply, witgate_reason reason, witgate_deltas *deltas, const char **repair) {
  (void)reply, (void)reason, (void)deltas, (void)repair;
  return NULL;
}
