declare module 'asciichart' {
  /** Plots a series with line-drawing characters. */
  export function plot(series: readonly number[], options?: { readonly height?: number }): string;
  const asciichart: { plot: typeof plot };
  export default asciichart;
}
