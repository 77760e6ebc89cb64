// What the SDK in `witgate.js` offers to TypeScript.

/** What never changes while an instance lives. Prices are US dollars per million tokens; undefined is unknown. */
export interface Deployment {
  id: string;
  provider: string;
  model: string;
  tags: string[];
  weight?: number;
  order: number;
  inputPrice?: number;
  outputPrice?: number;
  contextWindow?: number;
  rpm?: bigint;
  tpm?: bigint;
  itpm?: bigint;
  otpm?: bigint;
}

/** What a policy learned. `schema` is its own name for the shape of `bytes`. */
export interface SavedState {
  schema: string;
  bytes: Uint8Array;
}

/** What a router begins with. */
export interface Setup {
  /** A JSON object. */
  settings: string;
  deployments: Deployment[];
  /** The instance's own. */
  seed: bigint;
  /** Ignore a schema you do not know. */
  state?: SavedState;
}

/** What a router wants to be told. */
export interface Needs {
  signals: string[];
  features?: string[];
  attributes?: string[];
  /** false: `inputTokens` may be an upper bound that cost no counting. */
  exactTokens?: boolean;
  /** true: answers depend on their arguments alone, so several instances may serve at once. */
  pure?: boolean;
}

export interface Ask {
  nowMs: bigint;
  seed: bigint;
  inputTokens: number;
  expectedOutputTokens: number;
  maxOutputTokens?: number;
  /** Lower is more urgent. */
  priority: number;
  deadlineMs?: number;
  traits: {
    streaming?: boolean;
    tools?: boolean;
    images?: boolean;
    json?: boolean;
    /** `inputTokens` is what the model reads, counted. */
    inputExact?: boolean;
    /** `inputTokens` is what it cannot exceed; where it is neither, an estimate. */
    inputBound?: boolean;
  };
  /** One for each asked for; NaN where unknown. */
  features: ArrayLike<number>;
  /** One for each asked for; empty where absent. */
  attributes: string[];
}

/** How an attempt ended. */
export interface Outcome {
  seed: bigint;
  attempt: number;
  deployment: number;
  /** undefined: the reply was whole. */
  fault?: 'rate-limited' | 'unavailable' | 'timed-out' | 'rejected' | 'broken-stream' | 'cancelled';
  inputTokens: number;
  outputTokens: number;
  /** NaN where the price is unknown. */
  costUsd: number;
  latencyMs: number;
  ttftMs?: number;
  quality?: number;
}

/** What the router asked to know about each deployment at this moment. */
export class Signals {
  readonly names: string[];
  /** The columns of `names` one after another, one number for each of `rows` deployments; NaN where unknown. */
  readonly values: ArrayLike<number>;
  readonly rows: number;
  constructor(names: string[], values: ArrayLike<number>, rows: number);
  /** Where the column of this name begins in `values`; -1 where it was not asked for. */
  start(name: string): number;
  column(name: string): number[];
  row(index: number): Record<string, number>;
}

/** A deployment for each score, the lowest first; NaN counts as infinite, of equals the first comes first. */
export function rank(scores: number[]): number[];

/** Reads settings, a JSON object: ask for each by name, then call `finish`. */
export class Settings {
  constructor(text: string);
  take<T>(name: string, other: T): unknown;
  number(name: string, least: number, most: number, other: number): number;
  whole(name: string, least: number, most: number, other: number): number;
  /** A text, which must be given; `what` says what it is. */
  text(name: string, what: string): string;
  finish(): void;
}

/** Throw it from `route` to be asked again in so many milliseconds. */
export class Wait {
  constructor(milliseconds: number);
}

/** Throw it to end the request in these words, which needs a grant. */
export class Reject {
  constructor(words: string);
}

/** Deployments best first, and the probability with which each was drawn for its place; empty where nothing was. */
export interface Ranking {
  deployments: number[];
  propensities: number[];
}

export interface Router {
  readonly needs: Needs;
  route(ask: Ask, signals: Signals): number[] | Ranking;
  observe?(outcome: Outcome): void;
  save?(): SavedState | undefined;
}

export type Write = (level: 'debug' | 'info' | 'warn', message: string) => void;

/** The component's exports for a router; `configure` makes it, or throws an error about a setting that makes no sense. */
export function exportRouter(configure: (setup: Setup) => Router, write: Write): { lifecycle: object; routing: object };
