// What the SDK in `witgate-replies.js` offers to TypeScript.
export { Settings, type Write } from './witgate.js';
import { type Write } from './witgate.js';

/** What a parser begins with. */
export interface Setup {
  /** A JSON object. */
  settings: string;
  /** The instance's own. */
  seed: bigint;
}

/** What a parser wants to be told. */
export interface Needs {
  /** The kinds that `push` is called with; all others pass untouched. */
  deltas: { text?: boolean; reasoning?: boolean; refusal?: boolean; toolCalls?: boolean };
  attributes?: string[];
  /** true: nothing of one reply is remembered at the next, so an instance may read one reply after another. */
  pure?: boolean;
}

/** What is known of a reply before it comes. */
export interface About {
  /** Which alternative, from 0. */
  choice: number;
  /** Whether the client gets pieces as they come. A complaint then ends the reply with an error. */
  streamed: boolean;
  /** How often the model was asked before for this request. */
  askedAgain: number;
  /** The JSON schema the client wants the reply to follow, where it sent one. */
  schema?: string;
  /** What the group's prompt builder left for this reply. */
  note?: string;
  /** One for each asked for; empty where absent. */
  attributes: string[];
}

/** What a step of a reply adds; arguments are JSON text. */
export type Delta =
  | { tag: 'text' | 'reasoning' | 'refusal'; val: string }
  | { tag: 'tool-call'; val: { index: number; id: string; name: string } }
  | { tag: 'tool-arguments'; val: { index: number; fragment: string } };

export type Finish = 'stop' | 'length' | 'tool-calls' | 'content-filter' | 'refusal' | 'other';

/** Throw it from `finish`: what is wrong with the reply, and what to tell the model so that it does better, if anything. */
export class Complaint {
  constructor(problem: string, repair?: string);
}

/** Reads one alternative of one reply. */
export interface Reply {
  /** What the client gets in the place of `delta`. */
  push(delta: Delta): Delta[];
  /** What was held back; throws a `Complaint` where the reply is none. */
  finish(reason: Finish): Delta[];
}

export interface ResponseParser {
  readonly needs: Needs;
  open(about: About): Reply;
}

/** The component's exports for a parser; `configure` makes it, or throws an error about a setting that makes no sense. */
export function exportResponseParser(
  configure: (setup: Setup) => ResponseParser,
  write: Write,
): { lifecycle: object; parsing: object };
