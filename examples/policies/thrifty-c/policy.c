/* The cheapest deployment first, where each failure makes a deployment dearer.
 *
 * What a request is expected to cost counts times `1 + penalty × failure-rate`. An unknown failure rate is none; a
 * deployment whose cost is unknown comes last; of equals the one named first.
 *
 * Settings: `penalty`, a number from 0 to 1000, 10 unless given. */
#include "router.h"

enum { COST_USD, FAILURE_RATE };
static const char *const SIGNALS[] = {"cost-usd", "failure-rate", NULL};
static double penalty;

const char *policy_configure(const witgate_setup *setup, witgate_needs *needs) {
  penalty = 10;
  const witgate_setting known[] = {{.name = "penalty", .range = "0 to 1000", .most = 1000, .value = &penalty}};
  /* Its answers depend on its arguments alone: several instances may serve at once. */
  *needs = (witgate_needs){.signals = SIGNALS, .pure = true};
  return witgate_read_settings(setup->settings, known, 1);
}

void policy_route(const witgate_request *request, const witgate_signals *signals, witgate_answer *answer) {
  (void)request;
  const float *cost = witgate_column(signals, COST_USD);
  double *scores = witgate_take(signals->rows * sizeof *scores);
  for (size_t row = 0; row < signals->rows; row++)
    scores[row] = cost[row] * (1 + penalty * witgate_at_or(signals, FAILURE_RATE, row, 0));
  witgate_rank(scores, signals->rows, answer);
}

void policy_observe(const witgate_outcome *outcome) { (void)outcome; }

bool policy_save(witgate_state *state) {
  (void)state;
  return false;
}
