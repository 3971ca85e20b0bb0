import { useMutation, useQueryClient } from "@tanstack/react-query";
import { MAX_SYMBOL, type RunRequest } from "bff-client";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { useSession } from "../../api/context.ts";
import { navigate } from "../../lib/navigation.ts";
import { runRoute } from "../../lib/route.ts";
import { Failure } from "../../ui/notice.tsx";
import { IdempotencyKeys } from "./idempotency-keys.ts";

const text = (form: FormData, name: string) => String(form.get(name) ?? "").trim();

/** Return the request that the form stands for; windows are given in days of UTC. */
function requestOf(form: FormData): RunRequest {
  const from = text(form, "from");
  return {
    strategy_id: text(form, "strategy"),
    symbol: text(form, "symbol"),
    year: Number(from.slice(0, 4)),
    from,
    to: text(form, "to"),
    seed: Number(text(form, "seed")),
    params: { fast: Number(text(form, "fast")), slow: Number(text(form, "slow")), qty: Number(text(form, "qty")) },
  };
}

/** A dialog that starts a run and goes to its page, where it can be watched. */
export function CreateRun({ close }: { close: () => void }) {
  const { client } = useSession();
  const queries = useQueryClient();
  const dialog = useRef<HTMLDialogElement>(null);
  const [keys] = useState(() => new IdempotencyKeys());
  const create = useMutation({
    mutationFn: (request: RunRequest) => client.createRun(request, { idempotencyKey: keys.keyOf(request) }),
    onSuccess: ({ run_id }) => {
      void queries.invalidateQueries({ queryKey: ["runs"] });
      navigate(runRoute(run_id));
    },
  });
  useEffect(() => dialog.current?.showModal(), []);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    create.mutate(requestOf(new FormData(event.currentTarget)));
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="create-title">
      <form onSubmit={submit}>
        <h2 id="create-title">New run</h2>
        <div className="fields">
          <label>
            Symbol
            <input name="symbol" required defaultValue="AAPL" maxLength={MAX_SYMBOL} spellCheck={false} />
          </label>
          <label>
            Strategy
            <input name="strategy" required defaultValue="sma_crossover" maxLength={64} spellCheck={false} />
          </label>
          <label>
            From (UTC day)
            <input name="from" type="date" required defaultValue="2024-03-01" />
          </label>
          <label>
            To (UTC day)
            <input name="to" type="date" required defaultValue="2024-03-31" />
          </label>
          <label>
            Fast average, bars
            <input name="fast" type="number" required min={1} defaultValue={20} />
          </label>
          <label>
            Slow average, bars
            <input name="slow" type="number" required min={2} defaultValue={50} />
          </label>
          <label>
            Shares per order
            <input name="qty" type="number" required min={1} defaultValue={100} />
          </label>
          <label>
            Seed
            <input name="seed" type="number" required min={0} defaultValue={42} />
          </label>
        </div>
        {create.error && <Failure error={create.error} what="The run could not be started" />}
        <div className="actions">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" className="primary" disabled={create.isPending}>
            {create.isPending ? "Starting…" : "Start run"}
          </button>
        </div>
      </form>
    </dialog>
  );
}
