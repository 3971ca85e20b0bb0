import type { Chart, Order, Run, Timeframe } from "bff-client";
import { DEFAULT_PRICE_FORMAT } from "bff-client/lib/price-format";
import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { DAY } from "bff-client/lib/time";
import { type KeyboardEvent, type RefObject, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useChart, usePrefetchChart } from "../../api/queries.ts";
import {
  type Beyond,
  type Days,
  daysAround,
  daysToLoad,
  RANGES,
  runBounds,
  type Span,
  shiftSpan,
  spanOfDays,
  spanOfRange,
  timeframeFor,
  zoomSpan,
} from "../../charts/chart-window.ts";
import { timedOrders } from "../../charts/order-markers.ts";
import { type Bar, PriceChart } from "../../charts/price-chart.ts";
import { compact, count, percent, price, tone } from "../../lib/format.ts";
import { navigate } from "../../lib/navigation.ts";
import type { RunRoute } from "../../lib/route.ts";
import { onTheme } from "../../lib/theme.ts";
import { newYork } from "../../lib/time.ts";
import { barSizeInWords, TIMEFRAMES } from "../../lib/timeframes.ts";
import { afterPaint } from "../../ui/after-paint.ts";
import { Failure } from "../../ui/notice.tsx";
import { prefetchOnHover } from "../../ui/prefetch-on-hover.ts";
import { Segmented } from "../../ui/segmented.tsx";

const SETTLE_MS = 160;
/** Keys that move the view by a share of it, and that widen it by a factor. */
const MOVES: Record<string, number> = { ArrowLeft: -0.25, ArrowRight: 0.25 };
const ZOOMS: Record<string, number> = { "+": 0.5, "=": 0.5, "-": 2 };
const STEPS: readonly { label: string; words: string; to: (span: Span, bounds: Span) => Span }[] = [
  { label: "‹", words: "Earlier", to: (span) => shiftSpan(span, -0.5) },
  { label: "›", words: "Later", to: (span) => shiftSpan(span, 0.5) },
  { label: "+", words: "Zoom in", to: (span, bounds) => zoomSpan(span, 0.5, bounds) },
  { label: "−", words: "Zoom out", to: (span, bounds) => zoomSpan(span, 2, bounds) },
];

/** Return what decimated bars are: their size, and out of how many others they were made. */
function originInWords(metadata: Chart["metadata"]): string {
  const { decimation_stride, source_bars, total_bars, source_timeframe, preview } = metadata;
  const size = ` of ${barSizeInWords(decimation_stride)}`;
  if (preview) return `${size}, finer ones are on their way`;
  if (source_bars <= total_bars) return size;
  return `${size}, from ${count(source_bars)}${source_timeframe === "1H" ? " hours" : ""}`;
}

function Legend({ bar, daily, digits }: { bar: Bar | undefined; daily: boolean; digits: number }) {
  if (!bar) return <p className="legend">&nbsp;</p>;
  const change = bar.o ? bar.c / bar.o - 1 : 0;
  return (
    <p className="legend">
      <span>{daily ? newYork(bar.time, "date") : `${newYork(bar.time, "full")} ET`}</span>
      <span>
        O <b>{price(bar.o, digits)}</b>
      </span>
      <span>
        H <b>{price(bar.h, digits)}</b>
      </span>
      <span>
        L <b>{price(bar.l, digits)}</b>
      </span>
      <span>
        C <b>{price(bar.c, digits)}</b>
      </span>
      <span className={tone(change)}>{percent(change, true)}</span>
      <span>
        V <b>{compact(bar.v)}</b>
      </span>
    </p>
  );
}

/** What has to be known of a run to draw its chart; the list says as much. */
export type Charted = Pick<Run, "symbol" | "run_from" | "run_to">;

export function PricePanel(props: {
  route: RunRoute;
  run: Charted;
  orders: Order[] | null;
  /** Set once candles can be seen. */
  painted: RefObject<boolean>;
}) {
  const { route, run, orders, painted } = props;
  const { run_from, run_to } = run;
  const bounds = useMemo(() => runBounds({ run_from, run_to }), [run_from, run_to]);
  const opening = useRef<Span>(
    route.from !== undefined && route.to !== undefined ? { from: route.from, to: route.to } : bounds,
  );
  const [days, setDays] = useState<Days>(() => daysAround(opening.current, bounds));
  const [bar, setBar] = useState<Bar>();
  const [marks, setMarks] = useState(0);
  const [visible, setVisible] = useState<Span>(opening.current);
  const chart = useChart(run.symbol, route.timeframe, run.run_from ? days : undefined);
  const prefetch = usePrefetchChart(run.symbol);
  // A request that fails takes nothing off the screen.
  const kept = useRef(chart.data);
  if (chart.data) kept.current = chart.data;
  const data = kept.current;

  const box = useRef<HTMLDivElement>(null);
  const drawn = useRef<PriceChart>(undefined);
  /** Span to show with the next bars, while it is not yet shown. */
  const wanted = useRef<Span | undefined>(opening.current);
  const settling = useRef<ReturnType<typeof setTimeout>>(undefined);
  const latest = useRef({ route, bounds, data });
  latest.current = { route, bounds, data };

  /** The view came to rest: load what it lacks, and let the address say where it is. */
  const settle = useCallback((span: Span, beyond: Beyond) => {
    const now = latest.current;
    drawn.current?.drawMarkers();
    // Bars for another place are on their way: the place was set by whoever asked for them.
    if (wanted.current) return;
    setVisible(span);
    if (now.data) {
      const { from_date: from, to_date: to, metadata } = now.data;
      const next = daysToLoad(span, { from, to, decimated: metadata.decimated }, now.bounds, beyond);
      if (next) setDays(next);
    }
    const whole = span.from <= now.bounds.from + DAY && span.to >= now.bounds.to - 2 * DAY;
    const { from, to } = span;
    navigate({ ...now.route, from: whole ? undefined : from, to: whole ? undefined : to }, true);
  }, []);

  const settleSoon = useCallback(
    (span: Span, beyond: Beyond) => {
      clearTimeout(settling.current);
      settling.current = setTimeout(() => settle(span, beyond), SETTLE_MS);
    },
    [settle],
  );

  useEffect(() => {
    if (!box.current) return;
    const made = new PriceChart(box.current, { range: settleSoon, bar: setBar, marks: setMarks });
    drawn.current = made;
    wanted.current ??= opening.current;
    const stop = onTheme(() => made.recolour());
    return () => {
      clearTimeout(settling.current);
      stop();
      made.dispose();
      drawn.current = undefined;
    };
  }, [settleSoon]);

  const timed = useMemo(() => timedOrders(orders), [orders]);
  useEffect(() => {
    if (!data || !drawn.current) return;
    drawn.current.setFormat(data.metadata.price_format ?? DEFAULT_PRICE_FORMAT);
    drawn.current.setBars(
      data.columns,
      data.metadata.decimation_stride,
      spanOfDays({ from: data.from_date, to: data.to_date }),
      wanted.current,
    );
    drawn.current.drawMarkers();
    if (chart.isPlaceholderData) return;
    wanted.current = undefined;
    performance.mark("chart-drawn");
    return afterPaint(() => {
      painted.current = true;
    });
  }, [data, chart.isPlaceholderData, painted]);
  useEffect(() => drawn.current?.setOrders(timed), [timed]);

  /** Go to a span: at once with the bars there are, and with better ones as they come. */
  const go = (span: Span, timeframe: Timeframe = route.timeframe) => {
    const next = daysAround(span, bounds);
    const same = timeframe === route.timeframe && next.from === days.from && next.to === days.to;
    wanted.current = same ? undefined : span;
    drawn.current?.show(span);
    clearTimeout(settling.current);
    setVisible(span);
    setDays(next);
    const whole = span === bounds;
    navigate({ ...route, timeframe, from: whole ? undefined : span.from, to: whole ? undefined : span.to }, true);
  };
  /** Have the bars of a span come that somebody is about to go to. */
  const ahead = (span: Span, timeframe: Timeframe = route.timeframe) => prefetch(timeframe, daysAround(span, bounds));
  const ranged = (length: number): [Span, Timeframe] => {
    const span = spanOfRange(length, visible, bounds);
    return [span, timeframeFor(span)];
  };
  const pressed = (event: KeyboardEvent) => {
    const by = MOVES[event.key];
    const factor = ZOOMS[event.key];
    const span = by ? shiftSpan(visible, by) : factor ? zoomSpan(visible, factor, bounds) : undefined;
    if (!span || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(span);
  };

  /** Whoever takes hold of the chart decides where it is. */
  const release = () => {
    wanted.current = undefined;
  };
  const last = data?.columns.c.at(-1);
  const format = data?.metadata.price_format ?? DEFAULT_PRICE_FORMAT;
  const name = `${run.symbol} candles, ${newYork(visible.from, "date")} to ${newYork(visible.to, "date")}, last close ${price(last, format.digits)}. Arrow keys move, plus and minus zoom.`;
  return (
    <section className="card price" aria-labelledby="price" data-view-part="price">
      <header className="toolbar">
        <h2 id="price">{run.symbol}</h2>
        <Segmented
          label="Timeframe"
          options={TIMEFRAMES}
          value={route.timeframe}
          choose={(timeframe) => navigate({ ...route, timeframe }, true)}
          prefetch={(timeframe) => prefetch(timeframe, days)}
        />
        <Segmented
          label="Range"
          options={RANGES.map(({ label, words, days: length }) => ({ value: length, label, words }))}
          value={undefined}
          choose={(length) => go(...ranged(length))}
          prefetch={(length) => ahead(...ranged(length))}
        />
        {/* biome-ignore lint/a11y/useSemanticElements: as Segmented */}
        <div className="segmented" role="group" aria-label="View">
          {STEPS.map(({ label, words, to }) => (
            <button
              key={words}
              type="button"
              aria-label={words}
              onClick={() => go(to(visible, bounds))}
              {...prefetchOnHover(() => ahead(to(visible, bounds)))}
            >
              {label}
            </button>
          ))}
        </div>
        <span className="spacer" />
        {data?.metadata.stale && <span className="badge warn">stale: the backend is away</span>}
        {data && (
          <span className="muted" role="status">
            {count(data.metadata.total_bars)} bars{data.metadata.decimated && originInWords(data.metadata)}
            {orders && orders.length > 0 && marks === 0 && ` · zoom in to see ${count(orders.length)} orders`}
            {chart.isFetching && ", loading"}
          </span>
        )}
      </header>
      {chart.error && (
        <Failure
          error={chart.error}
          what={data ? "These bars are not the latest; newer ones could not be read" : "The chart could not be read"}
          retry={() => void chart.refetch()}
        />
      )}
      <Legend bar={bar} daily={(data?.metadata.decimation_stride ?? 0) >= REGULAR_MINUTES} digits={format.digits} />
      {/* biome-ignore lint/a11y/useSemanticElements: a chart that is moved by keys is no fieldset */}
      <div
        role="group"
        aria-roledescription="chart"
        aria-label={name}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it takes keys
        tabIndex={0}
        className="chart-frame"
        onKeyDown={pressed}
      >
        <div
          ref={box}
          className="chart"
          aria-hidden="true"
          onPointerDown={release}
          onWheel={release}
          data-marks={marks}
          data-bars={data?.metadata.total_bars}
          data-stride={data?.metadata.decimation_stride}
          data-from={data?.from_date}
          data-to={data?.to_date}
          data-timeframe={data?.timeframe}
          data-stale={data?.metadata.stale}
        />
      </div>
    </section>
  );
}
