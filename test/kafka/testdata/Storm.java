import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

// Sends numbered values with Kafka's own idempotent producer, a batch each and five under way. One of 25 has a capital letter, which the module of the topic refuses. Prints "acked VALUE" or "failed VALUE: WHY" for each.
public class Storm {
    public static void main(String[] args) throws Exception {
        int partitions = Integer.parseInt(args[2]);
        int count = Integer.parseInt(args[3]);
        Map<String, Object> config = Map.of(
                "bootstrap.servers", args[0],
                "batch.size", "1",
                "linger.ms", "0",
                "retry.backoff.ms", "20",
                "metadata.max.age.ms", "1000",
                "max.in.flight.requests.per.connection", "5");
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < count; i++) {
                // Long enough that no two fit into what is set aside for one.
                String value = String.format("%s%06d%0200d", i % 25 == 7 ? "R" : "r", i, 0);
                producer.send(new ProducerRecord<>(args[1], i % partitions, null, value), (told, why) -> {
                    System.out.println(why == null ? "acked " + value : "failed " + value + ": " + why);
                });
                Thread.sleep(1);
            }
        }
    }
}
