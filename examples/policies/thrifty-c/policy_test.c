/* cc policy_test.c policy.c router.c witgate.c -o policy_test && ./policy_test */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "router.h"

static int failed;

static void check(bool holds, const char *what) {
  if (!holds) printf("failed: %s\n", what);
  failed += !holds;
}

static const char *configure(const char *settings) {
  witgate_setup setup = {.settings = {settings, strlen(settings)}, .seed = 1};
  witgate_needs needs;
  return policy_configure(&setup, &needs);
}

/* Whether three deployments that cost and fail so much are ranked in this order. */
static bool ranked(const float table[6], const uint32_t order[3]) {
  uint32_t deployments[3];
  witgate_request request = {.seed = 1};
  witgate_signals signals = {.values = table, .columns = 2, .rows = 3};
  witgate_answer answer = {.deployments = deployments};
  policy_route(&request, &signals, &answer);
  return answer.count == 3 && memcmp(deployments, order, sizeof deployments) == 0;
}

/* Signals by name: a column, and what is known of one deployment. */
static bool named(void) {
  const char *const names[] = {"cost-usd", "failure-rate", NULL};
  const float table[] = {0.01f, 0.02f, 0.5f, NAN};
  witgate_signals signals = {table, 2, 2, names};
  witgate_row first = {&signals, 0}, second = {&signals, 1};
  return witgate_named(&signals, "failure-rate") == table + 2 && !witgate_named(&signals, "healthy") &&
         witgate_of(second, "cost-usd") == 0.02f && isnan(witgate_of(second, "failure-rate")) && isnan(witgate_of(first, "healthy"));
}

int main(void) {
  check(named(), "signals have names");
  check(configure("{}") == NULL, "no settings are settings");
  check(ranked((float[]){NAN, 0.03f, 0.01f, 0, 0, NAN}, (uint32_t[]){2, 1, 0}), "the cheapest first, an unknown price last");
  check(ranked((float[]){0.01f, 0.02f, 0.03f, 0.5f, 0, 0}, (uint32_t[]){1, 2, 0}), "failures make it dearer");
  check(configure("{\"penalty\": 0}") == NULL, "a penalty of 0");
  check(ranked((float[]){0.01f, 0.02f, 0.03f, 0.5f, 0, 0}, (uint32_t[]){0, 1, 2}), "only the price counts");
  const char *problem = configure("{\"penalty\": -1}");
  check(problem && !strcmp(problem, "setting `penalty` must be a number, 0 to 1000"), "a setting out of range");
  problem = configure("{\"limit\": 1}");
  check(problem && !strcmp(problem, "unknown setting `limit`; this policy knows: penalty"), "a setting nobody knows");
  puts(failed ? "failed" : "passed");
  return failed != 0;
}
