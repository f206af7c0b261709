package dev.guardlock.clients;

import com.fasterxml.jackson.annotation.JsonProperty;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.internals.AppInfoParser;

/** The Apache Java client, as the scenario uses it. */
final class Client {
    /** How to connect; null is in plaintext, without a login. */
    record Security(String protocol, String mechanism, String user, String password, @JsonProperty("ca_file") String caFile) {
        Map<String, Object> settings() {
            String module = mechanism.equals("PLAIN")
                    ? "org.apache.kafka.common.security.plain.PlainLoginModule"
                    : "org.apache.kafka.common.security.scram.ScramLoginModule";
            Map<String, Object> p = new HashMap<>();
            p.put("security.protocol", protocol);
            p.put("sasl.mechanism", mechanism);
            p.put("sasl.jaas.config", "%s required username=\"%s\" password=\"%s\";".formatted(module, user, password));
            if (protocol.equals("SASL_SSL")) {
                p.put("ssl.truststore.type", "PEM");
                p.put("ssl.truststore.location", caFile);
            }
            return p;
        }
    }

    private final Map<String, Object> base = new HashMap<>(); // of every client

    Client(String bootstrap, Security security) {
        base.put("bootstrap.servers", bootstrap);
        if (security != null) {
            base.putAll(security.settings());
        }
    }

    static String name() {
        return "kafka-clients " + AppInfoParser.getVersion();
    }

    /** A record that is sent or was read. */
    record Rec(String key, String value, String n, int partition, long offset) {}

    private KafkaProducer<String, String> producer(Map<String, Object> more) {
        Properties p = new Properties();
        p.putAll(base);
        p.put("key.serializer", StringSerializer.class);
        p.put("value.serializer", StringSerializer.class);
        p.put("acks", "all");
        p.put("linger.ms", 50);
        p.put("delivery.timeout.ms", 20000);
        p.put("request.timeout.ms", 10000);
        p.putAll(more);
        return new KafkaProducer<>(p);
    }

    private static ProducerRecord<String, String> message(String topic, Rec r, Integer partition) {
        ProducerRecord<String, String> m = new ProducerRecord<>(topic, partition, r.key(), r.value());
        m.headers().add("n", r.n().getBytes());
        return m;
    }

    /** Sends the records together; one outcome each: "ok" or the Kafka error's name. Messages go to the list given. */
    List<String> produce(String topic, List<Rec> records, String codec, boolean idempotent, Integer partition,
            List<String> messages) throws InterruptedException {
        List<String> outcomes = new ArrayList<>();
        try (var p = producer(Map.of("compression.type", codec, "enable.idempotence", idempotent))) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (Rec r : records) {
                sent.add(p.send(message(topic, r, partition)));
            }
            for (Future<RecordMetadata> f : sent) {
                outcomes.add(outcome(f, messages));
            }
        }
        return outcomes;
    }

    private static String outcome(Future<RecordMetadata> f, List<String> messages) throws InterruptedException {
        try {
            f.get();
            return "ok";
        } catch (ExecutionException e) {
            Throwable cause = e.getCause();
            messages.add(String.valueOf(cause.getMessage()));
            return cause instanceof ApiException ? Errors.forException(cause).name() : cause.getClass().getSimpleName();
        }
    }

    void transact(String id, String topic, List<Rec> records, boolean commit) {
        try (var p = producer(Map.of("transactional.id", id))) {
            p.initTransactions();
            p.beginTransaction();
            for (Rec r : records) {
                p.send(message(topic, r, null));
            }
            p.flush();
            if (commit) {
                p.commitTransaction();
            } else {
                p.abortTransaction();
            }
        }
    }

    private KafkaConsumer<String, String> consumer(Map<String, Object> more) {
        Map<String, Object> p = new HashMap<>(more);
        p.putAll(base);
        p.put("key.deserializer", StringDeserializer.class);
        p.put("value.deserializer", StringDeserializer.class);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", false);
        return new KafkaConsumer<>(p);
    }

    private static Rec rec(ConsumerRecord<String, String> r) {
        Header[] h = r.headers().toArray();
        String n = h.length == 1 && h[0].key().equals("n") ? new String(h[0].value()) : null;
        return new Rec(r.key(), r.value(), n, r.partition(), r.offset());
    }

    private static List<Rec> poll(Consumer<String, String> c) {
        List<Rec> got = new ArrayList<>();
        c.poll(Duration.ofMillis(100)).forEach(r -> got.add(rec(r)));
        return got;
    }

    /** Every record from the topic's start to its end as it is now. */
    List<Rec> read(String topic, boolean committed) {
        try (var c = consumer(Map.of("isolation.level", committed ? "read_committed" : "read_uncommitted"))) {
            List<TopicPartition> all = new ArrayList<>();
            for (PartitionInfo p : c.partitionsFor(topic)) {
                all.add(new TopicPartition(topic, p.partition()));
            }
            c.assign(all);
            c.seekToBeginning(all);
            Map<TopicPartition, Long> ends = c.endOffsets(all);
            List<Rec> got = new ArrayList<>();
            Deadline deadline = new Deadline();
            while (all.stream().anyMatch(tp -> c.position(tp) < ends.get(tp))) {
                deadline.check();
                got.addAll(poll(c));
            }
            return got;
        }
    }

    /** The first record that comes after a seek; null at the end. */
    Rec firstAt(String topic, int partition, long offset) {
        TopicPartition tp = new TopicPartition(topic, partition);
        try (var c = consumer(Map.of())) {
            c.assign(List.of(tp));
            c.seek(tp, offset);
            long end = c.endOffsets(List.of(tp)).get(tp);
            Deadline deadline = new Deadline();
            while (c.position(tp) < end) {
                deadline.check();
                List<Rec> got = poll(c);
                if (!got.isEmpty()) {
                    return got.get(0);
                }
            }
            return null;
        }
    }

    /** Joins a group under one of Kafka's two protocols, "classic" or "consumer" (KIP-848). */
    Member join(String group, String topic, String protocol) {
        Map<String, Object> p = new HashMap<>(Map.of("group.id", group, "group.protocol", protocol));
        if (protocol.equals("classic")) {
            p.put("session.timeout.ms", 10000);
            p.put("heartbeat.interval.ms", 500);
        }
        var c = consumer(p);
        c.subscribe(List.of(topic));
        return new Member(c);
    }

    /** One consumer in a group. */
    record Member(KafkaConsumer<String, String> c) {
        List<Rec> poll() {
            return Client.poll(c);
        }

        Collection<Integer> assignment() {
            return c.assignment().stream().map(TopicPartition::partition).toList();
        }

        void commit() {
            c.commitSync();
        }

        void close() {
            c.close();
        }
    }

    /** Bounds a wait. */
    static final class Deadline {
        private final long end = System.nanoTime() + Duration.ofSeconds(90).toNanos();

        void check() {
            if (System.nanoTime() > end) {
                throw new IllegalStateException("it did not get there in time");
            }
        }
    }

    static List<String> repeat(String value, int n) {
        String[] all = new String[n];
        Arrays.fill(all, value);
        return List.of(all);
    }
}
