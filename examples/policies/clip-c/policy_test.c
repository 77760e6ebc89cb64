/* cc policy_test.c policy.c parser.c witgate.c -o policy_test && ./policy_test */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parser.h"

static int failed;

static void check(bool holds, const char *what) {
  if (!holds) printf("failed: %s\n", what);
  failed += !holds;
}

static const char *configure(const char *settings) {
  witgate_setup setup = {.settings = {settings, strlen(settings)}, .seed = 1};
  witgate_needs needs = {0};
  return policy_configure(&setup, &needs);
}

/* Whether the client reads `heard` in the place of `said`; NULL is nothing. */
static bool reads(void *reply, const char *said, const char *heard) {
  witgate_deltas deltas = {0};
  witgate_delta delta = {.kind = WITGATE_TEXT, .text = {said, strlen(said)}};
  policy_push(reply, &delta, &deltas);
  return heard ? deltas.count == 1 && witgate_same(deltas.at[0].text, heard) : deltas.count == 0;
}

int main(void) {
  check(configure("{\"most\": 4}") == NULL, "a whole number is a setting");
  void *reply = policy_open(&(witgate_about){0});
  check(reads(reply, "äö", "äö"), "what is within passes");
  check(reads(reply, "ü😀yz", "ü😀"), "what is not is cut");
  check(reads(reply, "more", NULL), "nothing comes after");
  free(reply);
  check(configure("{\"most\": 0}") && configure("{\"most\": \"all\"}") && configure("{\"most\": 1.5}") && configure("{\"least\": 1}"),
        "settings that make no sense are refused");
  puts(failed ? "failed" : "passed");
  return failed != 0;
}
