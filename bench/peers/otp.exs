# SPDX-License-Identifier: Apache-2.0
#
# What peeper_bench measures, inside the BEAM, with GenServers as Elixir's documentation writes
# them. Run by bench/peers/otp_bench.cpp:
#
#   elixir bench/peers/otp.exs <task> <scale>
#
# Prints a line "key value" for each figure. Work that was not done raises, and the exit status says
# so. A plain process stands where the others have a foreign thread: the BEAM has none.

defmodule Counter do
  use GenServer

  def start(first, finish \\ nil, options \\ []), do: GenServer.start(__MODULE__, {first, finish}, options)
  def start_link({first, name}), do: GenServer.start_link(__MODULE__, {first, nil}, name: name)

  @impl true
  def init({n, finish}), do: {:ok, {n, finish}}

  @impl true
  def handle_call(:get, _from, {n, _} = s), do: {:reply, n, s}
  def handle_call({:add, by}, _from, {n, finish}), do: {:reply, n + by, {n + by, finish}}
  def handle_call(:fail, _from, _s), do: raise("unlucky")

  @impl true
  def handle_cast({:increase, by}, {n, finish}) do
    n = n + by
    case finish do
      {^n, pid} -> send(pid, :finished)
      _ -> :ok
    end
    {:noreply, {n, finish}}
  end

  def handle_cast(:hold, s) do
    receive do
      :let_go -> :ok
    end
    {:noreply, s}
  end
end

defmodule Driver do
  use GenServer
  @impl true
  def init(target), do: {:ok, target}

  @impl true
  def handle_call({:drive, n}, _from, target) do
    last = Enum.reduce(1..n, 0, fn _, _ -> GenServer.call(target, {:add, 1}) end)
    {:reply, last, target}
  end

  @impl true
  def handle_cast({:drive, left}, target) do
    now = min(left, 100)
    for _ <- 1..now, do: GenServer.cast(target, {:increase, 1})
    if left > now, do: GenServer.cast(self(), {:drive, left - now})
    {:noreply, target}
  end
end

defmodule Clerk do
  use GenServer
  @impl true
  def init(parent), do: {:ok, parent}
  @impl true
  def handle_call({:stamp, sent}, _from, parent) do
    send(parent, {:waited, Bench.now() - sent})
    {:reply, true, parent}
  end
  @impl true
  def handle_cast({:stamp, sent}, parent) do
    send(parent, {:waited, Bench.now() - sent})
    {:noreply, parent}
  end
end

defmodule Computing do
  use GenServer
  @impl true
  def init(asked), do: {:ok, asked}
  @impl true
  def handle_call(:ask_and_compute, _from, asked) do
    request = :gen_server.send_request(asked, {:stamp, Bench.now()})
    Bench.spin_for(20_000_000)
    {:reply, reply} = :gen_server.receive_response(request, 5000)
    {:reply, reply, asked}
  end
end

defmodule Worker do
  use GenServer
  @impl true
  def init(_), do: {:ok, nil}
  @impl true
  def handle_cast(:work, s) do
    Bench.spin_for(50_000)
    GenServer.cast(self(), :work)
    {:noreply, s}
  end
end

# Owns an ETS table as tables of ours are by default: a set, others read, one writes.
defmodule Market do
  use GenServer
  @impl true
  def init(rows) do
    :quotes = :ets.new(:quotes, [:set, :protected, :named_table])
    for i <- 0..(rows - 1), do: :ets.insert(:quotes, {i, i, i})
    {:ok, nil}
  end
  @impl true
  def handle_call({:write_all, keys}, _from, s) do
    write(keys)
    {:reply, true, s}
  end
  defp write([]), do: :ok
  defp write([key | more]) do
    :ets.insert(:quotes, {key, key + 1, key + 2})
    write(more)
  end
end

# Ends as soon as it runs, until it has done so often enough.
defmodule ShortLived do
  use GenServer
  def start_link({lives, parent}), do: GenServer.start_link(__MODULE__, {lives, parent})
  @impl true
  def init({lives, parent}) do
    if :counters.get(lives, 1) > 0 do
      :counters.sub(lives, 1, 1)
      {:ok, nil, {:continue, :leave}}
    else
      send(parent, :finished)
      {:ok, nil}
    end
  end
  @impl true
  def handle_continue(:leave, s), do: {:stop, :normal, s}
end

defmodule Bench do
  def now, do: :erlang.monotonic_time(:nanosecond)
  def spin_for(ns), do: spin_until(now() + ns)
  defp spin_until(t), do: if(now() < t, do: spin_until(t), else: :ok)

  def require!(true, _), do: :ok
  def require!(_, what), do: raise("it does not hold that " <> what)

  def print(key, value), do: IO.puts("#{key} #{value}")

  def percentile(times, part) do
    sorted = Enum.sort(times)
    Enum.at(sorted, round((length(sorted) - 1) * part))
  end

  def print_percentiles(times, divisor \\ 1) do
    print("p50", percentile(times, 0.5) / divisor)
    print("p99", percentile(times, 0.99) / divisor)
  end

  # As ns_one_by_one of the C++ side: half a second at most, once there are 50.
  def one_by_one(n, step), do: one_by_one(n, step, 0, 0, [])
  defp one_by_one(n, _, n, _, times), do: times
  defp one_by_one(_, _, i, spent, times) when spent > 500_000_000 and i >= 50, do: times
  defp one_by_one(n, step, i, spent, times) do
    begin = now()
    step.(i + 1)
    took = now() - begin
    one_by_one(n, step, i + 1, spent + took, [took | times])
  end

  def wait_finished do
    receive do
      :finished -> :ok
    after
      60_000 -> raise("it does not hold that all messages are handled within a minute")
    end
  end

  def calls(n) do
    {:ok, c} = Counter.start(0)
    one_by_one(n, fn i -> require!(GenServer.call(c, {:add, 1}) == i, "calls are handled once") end)
  end

  def run("call", scale), do: calls(scale.(50_000)) |> print_percentiles()

  def run("call_pause", scale) do
    {:ok, c} = Counter.start(0)
    for i <- 1..(scale.(30) + 1) do
      Process.sleep(20)
      begin = now()
      got = GenServer.call(c, {:add, 1})
      took = now() - begin
      require!(got == i, "calls are handled once")
      took
    end
    |> print_percentiles()
  end

  def run("call_busy", scale) do
    {:ok, c} = Counter.start(0)
    me = self()
    other = spawn_link(fn -> keep_calling(c, me, 0) end)
    receive do: (:at_work -> :ok)
    times = one_by_one(scale.(50_000), fn _ -> GenServer.call(c, {:add, 1}) end)
    send(other, :enough)
    of_the_other = receive do: ({:done, n} -> n)
    require!(GenServer.call(c, :get) == length(times) + of_the_other, "calls are handled once")
    print_percentiles(times)
  end

  def run("server_to_server", scale) do
    n = scale.(100_000)
    {:ok, c} = Counter.start(0)
    {:ok, d} = GenServer.start(Driver, c)
    begin = now()
    last = GenServer.call(d, {:drive, n}, :infinity)
    ns = (now() - begin) / n
    require!(last == n and GenServer.call(c, :get) == n, "calls are handled once")
    print("M/s", 1000 / ns)
  end

  def run("cast_threads_" <> senders, scale) do
    senders = String.to_integer(senders)
    each = scale.(div(400_000, senders))
    {:ok, c} = Counter.start(0, {each * senders, self()})
    begin = now()
    for _ <- 1..senders do
      spawn_link(fn -> for _ <- 1..each, do: GenServer.cast(c, {:increase, 1}) end)
    end
    wait_finished()
    ns = (now() - begin) / (each * senders)
    require!(GenServer.call(c, :get) == each * senders, "casts are handled once")
    print("M/s", 1000 / ns)
  end

  def run("cast_servers_" <> senders, scale) do
    senders = String.to_integer(senders)
    each = scale.(div(400_000, senders))
    {:ok, c} = Counter.start(0, {each * senders, self()})
    drivers =
      for _ <- 1..senders do
        {:ok, d} = GenServer.start(Driver, c)
        d
      end
    begin = now()
    for d <- drivers, do: GenServer.cast(d, {:drive, each})
    wait_finished()
    ns = (now() - begin) / (each * senders)
    require!(GenServer.call(c, :get) == each * senders, "casts are handled once")
    print("M/s", 1000 / ns)
  end

  def run("spawn", scale) do
    n = scale.(100_000)
    :erlang.garbage_collect()
    before = :erlang.memory(:total)
    begin = now()
    servers =
      for i <- 1..n do
        {:ok, c} = Counter.start(i)
        c
      end
    print("time", (now() - begin) / n)
    print("bytes", (:erlang.memory(:total) - before) / n)
    begin = now()
    Enum.reduce(servers, 1, fn c, i ->
      require!(GenServer.call(c, :get) == i, "each server has its own state")
      i + 1
    end)
    print("answer", (now() - begin) / n)
  end

  def run("crash", scale) do
    {:ok, _} =
      Supervisor.start_link([%{id: :c, start: {Counter, :start_link, [{42, :counter}]}}],
        strategy: :one_for_one, max_restarts: 1_000_000_000, max_seconds: 1)
    one_by_one(scale.(5_000), fn _ ->
      failed =
        try do
          GenServer.call(:counter, :fail)
          false
        catch
          :exit, _ -> true
        end
      require!(failed, "the caller learns of the crash")
      require!(ask_until_there() == 42, "the next answer is that of a sane server")
    end)
    |> print_percentiles()
  end

  def run("compute", scale) do
    {:ok, asked} = GenServer.start(Clerk, self())
    {:ok, caller} = GenServer.start(Computing, asked)
    for _ <- 1..(scale.(25) + 2) do
      require!(GenServer.call(caller, :ask_and_compute), "the call was answered")
      waited = receive do: ({:waited, ns} -> ns)
      Process.sleep(1)
      waited
    end
    |> print_percentiles()
  end

  def run("quiet", scale) do
    {:ok, quiet} = GenServer.start(Clerk, self())
    for _ <- 1..100 do
      {:ok, w} = GenServer.start(Worker, nil)
      GenServer.cast(w, :work)
    end
    # The client of the others has a thread of its own; here it may run before the busy ones.
    Process.flag(:priority, :high)
    deadline = now() + 1_000_000_000
    quiet_samples(quiet, scale.(300) + 1, deadline, []) |> print_percentiles(50_000)
  end

  def run("idle", scale) do
    for _ <- 1..1000 do
      {:ok, c} = Counter.start(0)
      require!(GenServer.call(c, {:add, 1}) == 1, "it is at work")
    end
    Process.sleep(200)
    ms = max(10, scale.(1000))
    {sleeps, ticks} = {sleeps(), ticks()}
    begin = now()
    Process.sleep(ms)
    seconds = (now() - begin) / 1.0e9
    print("wakes", (sleeps() - sleeps) / seconds)
    print("cpu", (ticks() - ticks) / 1000 / seconds)
  end

  def run("burst", scale) do
    n = scale.(1_000_000)
    {:ok, c} = Counter.start(0, {n, self()})
    :erlang.garbage_collect()
    before = resident()
    GenServer.cast(c, :hold)
    cast_many(c, n)
    print("peak", (resident() - before) / 1.0e6)
    send(c, :let_go)
    wait_finished()
    Process.sleep(100)
    print("after", (resident() - before) / 1.0e6)
  end

  def run("restart", scale) do
    # Of few: it goes through the restarts of the last second at each, and a second is its least.
    n = scale.(2_000)
    lives = :counters.new(1, [])
    :counters.put(lives, 1, n)
    begin = now()
    {:ok, top} =
      Supervisor.start_link([%{id: :c, start: {ShortLived, :start_link, [{lives, self()}]}}],
        strategy: :one_for_one, max_restarts: 1_000_000_000, max_seconds: 1)
    wait_finished()
    print("time", (now() - begin) / n)
    require!(Supervisor.count_children(top).active == 1, "the last one was started")
  end

  def run("children", scale) do
    n = scale.(1_000_000)
    begin = now()
    {:ok, top} = DynamicSupervisor.start_link(strategy: :one_for_one, max_children: :infinity)
    spec = %{id: :c, start: {GenServer, :start_link, [Counter, {0, nil}]}}
    for _ <- 1..n, do: {:ok, _} = DynamicSupervisor.start_child(top, spec)
    print("start", (now() - begin) / 1.0e9)
    require!(DynamicSupervisor.count_children(top).active == n, "all children are there")
    # To end n of them takes it n * n: minutes for these.
  end

  def run("table_look_up_" <> rows, scale) do
    {keys, _} = market(rows, scale.(100_000), scale)
    turns = for _ <- 1..7 do
      begin = now()
      found = look_up(keys, 0)
      took = now() - begin
      require!(found == length(keys), "every row was found")
      took / length(keys)
    end
    print("time", percentile(turns, 0.5))
  end

  def run("table_write_" <> rows, scale) do
    {keys, owner} = market(rows, 1000, scale)
    turns = for _ <- 1..scale.(100) do
      begin = now()
      require!(GenServer.call(owner, {:write_all, keys}), "written")
      (now() - begin) / length(keys)
    end
    require!(Enum.all?(keys, &(:ets.lookup(:quotes, &1) == [{&1, &1 + 1, &1 + 2}])), "all rows were written")
    print("time", percentile(turns, 0.5))
  end

  def run("version", _) do
    print("version", "Elixir #{System.version()}, OTP #{System.otp_release()}")
  end

  # A table of so many rows, and keys of some of them, as likely one as the other.
  defp market(rows, keys, scale) do
    rows = scale.(String.to_integer(rows))
    {:ok, owner} = GenServer.start(Market, rows, timeout: :infinity)
    :rand.seed(:exsss, 42)
    {for(_ <- 1..keys, do: :rand.uniform(rows) - 1), owner}
  end

  defp look_up([], found), do: found
  defp look_up([key | more], found) do
    case :ets.lookup(:quotes, key) do
      [{^key, _, ^key}] -> look_up(more, found + 1)
      [] -> look_up(more, found)
    end
  end

  defp cast_many(_, 0), do: :ok
  defp cast_many(c, n) do
    GenServer.cast(c, {:increase, 1})
    cast_many(c, n - 1)
  end

  defp keep_calling(c, parent, n) do
    GenServer.call(c, {:add, 1})
    if n == 0, do: send(parent, :at_work)
    receive do
      :enough -> send(parent, {:done, n + 1})
    after
      0 -> keep_calling(c, parent, n + 1)
    end
  end

  defp ask_until_there do
    try do
      GenServer.call(:counter, :get)
    catch
      :exit, _ -> ask_until_there()
    end
  end

  defp quiet_samples(_, 0, _, times), do: times
  defp quiet_samples(quiet, left, deadline, times) do
    GenServer.cast(quiet, {:stamp, now()})
    waited = receive do: ({:waited, ns} -> ns)
    Process.sleep(1)
    if now() > deadline, do: [waited | times], else: quiet_samples(quiet, left - 1, deadline, [waited | times])
  end

  defp resident do
    [_, pages | _] = File.read!("/proc/self/statm") |> String.split()
    String.to_integer(pages) * 4096
  end

  # In nanoseconds. The kernel counts in ticks of 10 ms where the C++ side has a clock.
  defp ticks do
    stat = File.read!("/proc/self/stat")
    fields = stat |> String.split(") ") |> List.last() |> String.split()
    (String.to_integer(Enum.at(fields, 11)) + String.to_integer(Enum.at(fields, 12))) * 10_000_000
  end

  defp sleeps do
    for task <- File.ls!("/proc/self/task"), reduce: 0 do
      sum ->
        [_, n] = Regex.run(~r/^voluntary_ctxt_switches:\s+(\d+)/m, File.read!("/proc/self/task/#{task}/status"))
        sum + String.to_integer(n)
    end
  end
end

Logger.configure(level: :none)
:logger.set_primary_config(:level, :none)
[task, percent] = System.argv()
# As bench::scaled: the whole, or a five-hundredth.
scale = if percent == "short", do: fn n -> max(1, div(n, 500)) end, else: fn n -> n end
Bench.run(task, scale)
# At once: busy servers need not end first.
System.halt(0)
