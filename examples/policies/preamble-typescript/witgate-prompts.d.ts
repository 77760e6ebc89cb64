// What the SDK in `witgate-prompts.js` offers to TypeScript.
export { Reject, Settings, type Write } from './witgate.js';
import { type Write } from './witgate.js';

/** What a builder begins with. */
export interface Setup {
  /** A JSON object. */
  settings: string;
  /** The instance's own. */
  seed: bigint;
}

/** What a builder wants to be told. */
export interface Needs {
  attributes?: string[];
  /** true: `build` depends on its arguments alone, so an instance may serve one request after another. */
  pure?: boolean;
}

export type Role = 'system' | 'developer' | 'user' | 'assistant' | 'tool';
export type Kind = 'text' | 'tool-call' | 'tool-result' | 'reasoning' | 'refusal' | 'other';

/** One turn of the conversation; parts that are `other` have no words. */
export interface Message {
  role: Role;
  parts: { kind: Kind; text: string }[];
}

export interface Request {
  nowMs: bigint;
  seed: bigint;
  messages: Message[];
  /** The client's `prompt_variables`, a JSON object. */
  variables: string;
  /** The client's `prompt_items`, each as JSON. */
  items: string[];
  /** Tokens the prompt may have; undefined where no model's size is known. */
  budget?: number;
  /** One for each asked for; empty where absent. */
  attributes: string[];
}

/** With a `source` that part of the request (counted from 0 over all messages), its words too where there is no `text`. */
export interface BuiltPart {
  source?: number;
  text?: string;
}

/** With a `source` it keeps that message's name and unknown fields. */
export interface BuiltMessage {
  role: Role;
  parts: BuiltPart[];
  source?: number;
}

export interface Prompt {
  messages: BuiltMessage[];
  /** The items that are in it, by index. */
  items?: number[];
  /** Kept for the group's response parser, and shown to nobody else. */
  note?: string;
}

/** A new message of one text. */
export function message(role: Role, text: string): BuiltMessage;

/** The messages of a request as they are, to be changed here and there: every part is kept. */
export function kept(messages: Message[]): BuiltMessage[];

export interface PromptBuilder {
  readonly needs: Needs;
  /** Throws a `Reject` to refuse the request. */
  build(request: Request): Prompt;
}

/** The component's exports for a builder; `configure` makes it, or throws an error about a setting that makes no sense. */
export function exportPromptBuilder(
  configure: (setup: Setup) => PromptBuilder,
  write: Write,
): { lifecycle: object; prompting: object };
