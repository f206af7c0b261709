package dev.guardlock.clients;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.guardlock.clients.Client.Member;
import dev.guardlock.clients.Client.Rec;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;

/** The client matrix's cases for Java. README.md, at test/clients, says what each is. */
public final class Matrix {
    /** What is read from standard input. */
    record Job(String bootstrap, String run, Map<String, String> topics, List<String> cases, Client.Security security) {}

    private final Client client;
    private final Job job;

    private Matrix(Job job) {
        this.job = job;
        this.client = new Client(job.bootstrap(), job.security());
    }

    public static void main(String[] args) throws Exception {
        ObjectMapper json = new ObjectMapper();
        Matrix m = new Matrix(json.readValue(System.in, Job.class));
        Map<String, Object> report = new LinkedHashMap<>();
        m.cases().forEach((name, run) -> {
            if (m.job.cases() == null || m.job.cases().isEmpty() || m.job.cases().contains(name)) {
                report.put(name, result(run));
            }
        });
        json.writeValue(System.out, Map.of("client", Client.name(), "cases", report));
    }

    private static Map<String, Object> result(Callable<Map<String, Object>> run) {
        try {
            return run.call();
        } catch (Exception e) {
            e.printStackTrace();
            return Map.of("error", e.toString());
        }
    }

    private Map<String, Callable<Map<String, Object>>> cases() {
        Map<String, Callable<Map<String, Object>>> all = new LinkedHashMap<>();
        for (String c : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            all.put("codec/" + c, () -> roundTrip("codec-" + c, c, false));
        }
        all.put("idempotent", () -> roundTrip("idempotent", "none", true));
        all.put("transaction", this::transaction);
        all.put("group", () -> group("classic"));
        all.put("group/consumer", () -> group("consumer"));
        all.put("seek", this::seek);
        all.put("upper", this::upper);
        all.put("reject/plain", () -> reject(false));
        all.put("reject/idempotent", () -> reject(true));
        all.put("drop/plain", () -> drop(false));
        all.put("drop/idempotent", () -> drop(true));
        return all;
    }

    private String topic(String name) {
        return job.topics().get(name);
    }

    private List<Rec> records(String name, int first, List<String> values) {
        List<Rec> all = new ArrayList<>();
        for (int i = 0; i < values.size(); i++) {
            int n = first + i;
            all.add(new Rec(job.run() + "/" + name + "/" + n, values.get(i), String.valueOf(n), 0, 0));
        }
        return all;
    }

    private List<Rec> stored(String topic, String name, boolean committed) {
        String prefix = job.run() + "/" + name + "/";
        return client.read(topic(topic), committed).stream()
                .filter(r -> r.key() != null && r.key().startsWith(prefix))
                .sorted(Comparator.comparingInt(r -> Integer.parseInt(r.key().substring(prefix.length()))))
                .toList();
    }

    private static List<String> values(List<Rec> records) {
        return records.stream().map(Rec::value).toList();
    }

    private Map<String, Object> roundTrip(String name, String codec, boolean idempotent) throws Exception {
        List<Rec> sent = records(name, 0, IntStream.range(0, 20).mapToObj(i -> "value " + i + " of " + name + " " + "x".repeat(100)).toList());
        List<String> outcomes = client.produce(topic("plain"), sent, codec, idempotent, null, new ArrayList<>());
        List<Rec> got = stored("plain", name, false);
        List<Rec> bare = got.stream().map(r -> new Rec(r.key(), r.value(), r.n(), 0, 0)).toList();
        return Map.of("acked", Collections.frequency(outcomes, "ok"), "read", got.size(), "intact", bare.equals(sent));
    }

    /** The commit is answered before its markers are in every partition: what it holds may take a moment to be readable. */
    private int committed(String name, int want) {
        for (long end = System.nanoTime() + 20_000_000_000L; ; ) {
            int got = stored("plain", name, true).size();
            if (got >= want || System.nanoTime() > end) return got;
        }
    }

    private Map<String, Object> transaction() {
        client.transact(job.run() + "-tx", topic("plain"), records("tx-kept", 0, Client.repeat("kept", 10)), true);
        client.transact(job.run() + "-tx", topic("plain"), records("tx-undone", 0, Client.repeat("undone", 10)), false);
        return Map.of("kept", committed("tx-kept", 10), "undone", stored("plain", "tx-undone", true).size());
    }

    private Map<String, Object> group(String protocol) throws Exception {
        String group = job.run() + "-group-" + protocol;
        String name = "group-" + protocol;
        Set<String> seen = new HashSet<>();
        Member first = client.join(group, topic("plain"), protocol);
        poll(List.of(first), name, seen, () -> first.assignment().size() == 3);
        Member second = client.join(group, topic("plain"), protocol);
        List<Member> both = List.of(first, second);
        poll(both, name, seen, () -> !first.assignment().isEmpty() && !second.assignment().isEmpty()
                && first.assignment().size() + second.assignment().size() == 3);
        boolean covered = Collections.disjoint(first.assignment(), second.assignment());
        spread(name + "-a", 30);
        poll(both, name, seen, () -> seen.size() == 30);
        for (Member m : both) {
            m.commit();
            m.close();
        }
        spread(name + "-b", 3);
        Set<String> after = new HashSet<>();
        Member third = client.join(group, topic("plain"), protocol);
        poll(List.of(third), name, after, () -> late(after, name) == 3);
        third.close();
        return Map.of("covered", covered, "seen", seen.size(), "resumed", late(after, name), "redelivered", after.size() - late(after, name));
    }

    private static int late(Set<String> keys, String name) {
        return (int) keys.stream().filter(k -> k.contains("/" + name + "-b/")).count();
    }

    private void poll(List<Member> members, String name, Set<String> seen, BooleanSupplier holds) {
        Client.Deadline deadline = new Client.Deadline();
        while (!holds.getAsBoolean()) {
            deadline.check();
            for (Member m : members) {
                m.poll().stream().map(Rec::key).filter(k -> k != null && k.startsWith(job.run() + "/" + name)).forEach(seen::add);
            }
        }
    }

    private void spread(String name, int n) throws Exception {
        List<Rec> all = records(name, 0, Client.repeat("spread", n));
        for (int p = 0; p < 3; p++) {
            int partition = p;
            List<Rec> part = IntStream.range(0, n).filter(i -> i % 3 == partition).mapToObj(all::get).toList();
            client.produce(topic("plain"), part, "none", false, p, new ArrayList<>());
        }
    }

    private Map<String, Object> seek() throws Exception {
        client.produce(topic("plain"), records("seek", 0, Client.repeat("sought", 5)), "none", false, 0, new ArrayList<>());
        Rec third = stored("plain", "seek", false).get(2);
        Rec got = client.firstAt(topic("plain"), third.partition(), third.offset());
        return Map.of("offset", got.offset() == third.offset(), "key", got.key().equals(third.key()));
    }

    private Map<String, Object> upper() throws Exception {
        List<Rec> sent = records("upper", 0, IntStream.range(0, 5).mapToObj(i -> "hello " + i).toList());
        List<String> outcomes = client.produce(topic("upper"), sent, "none", false, 0, new ArrayList<>());
        return Map.of("acked", Collections.frequency(outcomes, "ok"), "values", values(stored("upper", "upper", false)));
    }

    private Map<String, Object> reject(boolean idempotent) throws Exception {
        String name = "reject-" + idempotent;
        List<String> messages = new ArrayList<>();
        List<List<String>> outcomes = new ArrayList<>();
        int n = 0;
        for (List<String> batch : List.of(List.of("fine 0"), List.of("fine 1", "BAD 2", "fine 3"), List.of("fine 4"))) {
            outcomes.add(client.produce(topic("strict"), records(name, n, batch), "none", idempotent, 0, messages));
            n += batch.size();
        }
        return Map.of("outcomes", outcomes, "messages", messages, "values", values(stored("strict", name, false)));
    }

    private Map<String, Object> drop(boolean idempotent) throws Exception {
        String name = "drop-" + idempotent;
        int n = 0;
        int acked = 0;
        for (List<String> batch : List.of(List.of("keep 0", "drop 1", "keep 2"), List.of("drop 3", "drop 4"), List.of("keep 5"))) {
            acked += Collections.frequency(
                    client.produce(topic("dropping"), records(name, n, batch), "none", idempotent, 0, new ArrayList<>()), "ok");
            n += batch.size();
        }
        List<Rec> got = stored("dropping", name, false);
        Rec beforeHole = got.stream().filter(r -> r.value().equals("keep 2")).findFirst().orElseThrow();
        Rec after = client.firstAt(topic("dropping"), 0, beforeHole.offset() + 1);
        return Map.of("acked", acked, "values", values(got), "after_hole", after == null ? "" : after.value());
    }
}
