import java.io.FileWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.connect.cli.ConnectStandalone;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.Stores;

// Reads a topic whose keys are longs and whose values are JSON, with one of the consumers that insist on that, and prints
// "got KEY=VALUE" for each record that the application is given, or "ended: WHY" and stops. Whoever runs it ends it.
public class Typed {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[1];
        String topic = args[2];
        switch (args[0]) {
            case "ktable" -> streams(bootstrap, topic, true);
            case "kstream" -> streams(bootstrap, topic, false);
            case "share" -> share(bootstrap, topic);
            case "connect" -> connect(bootstrap, topic, Path.of(args[3]));
        }
    }

    static void got(Object key, Object value) {
        System.out.println("got " + key + "=" + value);
    }

    static void streams(String bootstrap, String topic, boolean table) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        var typed = Consumed.with(Serdes.Long(), Serdes.String());
        var stream = table
            ? builder.table(topic, typed, Materialized.<Long, String>as(Stores.inMemoryKeyValueStore("rows"))).toStream()
            : builder.stream(topic, typed);
        stream.foreach(Typed::got);

        Properties p = new Properties();
        p.put("application.id", topic + (table ? "-ktable" : "-kstream"));
        p.put("bootstrap.servers", bootstrap);
        p.put("auto.offset.reset", "earliest");
        p.put("state.dir", Files.createTempDirectory("typed").toString());
        KafkaStreams streams = new KafkaStreams(builder.build(), p);
        CountDownLatch end = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(e -> {
            System.out.println("ended: " + e);
            end.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        end.await();
        streams.close(Duration.ofSeconds(5));
    }

    static void share(String bootstrap, String topic) throws Exception {
        String group = topic + "-share";
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) bootstrap))) {
            var earliest = new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group), List.of(earliest))).all().get();
        }

        try (var c = new KafkaShareConsumer<>(Map.of("bootstrap.servers", (Object) bootstrap, "group.id", group),
                new LongDeserializer(), new StringDeserializer())) {
            c.subscribe(List.of(topic));
            while (true) {
                for (ConsumerRecord<Long, String> r : c.poll(Duration.ofMillis(200))) {
                    got(r.key(), r.value());
                }
            }
        } catch (Exception e) {
            System.out.println("ended: " + e);
        }
    }

    // A worker of Connect with one sink task that prints what its converters make of a record.
    static void connect(String bootstrap, String topic, Path dir) throws Exception {
        Path worker = dir.resolve("worker.properties");
        write(worker, Map.of("bootstrap.servers", bootstrap, "offset.storage.file.filename", dir.resolve("offsets").toString(),
            "key.converter", "org.apache.kafka.connect.converters.LongConverter",
            "value.converter", "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable", "false",
            "listeners", "http://127.0.0.1:0"));
        Path sink = dir.resolve("sink.properties");
        write(sink, Map.of("name", topic, "connector.class", "dev.guardlock.kafka.PrintingSink",
            "tasks.max", "1", "topics", topic, "consumer.override.auto.offset.reset", "earliest"));
        ConnectStandalone.main(new String[] {worker.toString(), sink.toString()});
    }

    static void write(Path path, Map<String, String> settings) throws Exception {
        Properties p = new Properties();
        p.putAll(settings);
        try (FileWriter w = new FileWriter(path.toFile())) {
            p.store(w, null);
        }
    }
}
