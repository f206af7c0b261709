import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends values as one batch and prints "OFFSET is VALUE" for each, as the producer was told. */
public class Told {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of(
                "bootstrap.servers", args[0],
                "enable.idempotence", args[2],
                "linger.ms", "500");
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> told = new ArrayList<>();
            for (int i = 3; i < args.length; i++) {
                told.add(producer.send(new ProducerRecord<>(args[1], 0, null, args[i])));
            }
            for (int i = 3; i < args.length; i++) {
                System.out.println(told.get(i - 3).get().offset() + " is " + args[i]);
            }
        }
    }
}
