// The gateway's log: 20 lines a call, each cut at 1 KiB.
declare module 'witgate:policy/log@0.1.0' {
  export function write(level: 'debug' | 'info' | 'warn', message: string): void;
}
