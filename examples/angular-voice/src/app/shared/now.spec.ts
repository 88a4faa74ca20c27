import { clock } from './now';

describe('clock', () => {
  it.each([
    [0, '0:00'],
    [-3, '0:00'],
    [9.2, '0:10'],
    [61, '1:01'],
    [3599, '59:59'],
    [3600, '1:00:00'],
    [86_399, '23:59:59'],
  ])('writes %s seconds as %s', (seconds, text) => expect(clock(seconds)).toBe(text));
});
