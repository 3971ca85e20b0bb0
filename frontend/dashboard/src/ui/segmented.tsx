import { prefetchOnHover } from "./prefetch-on-hover.ts";

/** A row of buttons of which one is on. */
export function Segmented<T extends string | number>(props: {
  label: string;
  options: readonly { value: T; label: string; words?: string }[];
  value: T | undefined;
  choose: (value: T) => void;
  /** Called with what somebody is about to choose, perhaps more than once. */
  prefetch?: (value: T) => void;
}) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be laid out as a row of a toolbar in every browser
    <div className="segmented" role="group" aria-label={props.label}>
      {props.options.map(({ value, label, words }) => (
        <button
          key={value}
          type="button"
          aria-pressed={value === props.value}
          aria-label={words && `${label}, ${words}`}
          onClick={() => props.choose(value)}
          {...(props.prefetch && prefetchOnHover(() => props.prefetch?.(value)))}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
