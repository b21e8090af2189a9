package local.searchpipeline;

import java.util.Map;
import org.opensearch.ingest.ConfigurationUtils;

/** The attribute by which the first processor tells the second how many hits were asked for. */
final class OriginalSize {

    private OriginalSize() {}

    /** Read the attribute's name from a processor's settings: a pipeline that oversamples twice keeps the two apart by a prefix. */
    static String attribute(String type, String tag, Map<String, Object> config, String... prefixKeys) {
        String name = "original_size";
        for (String key : prefixKeys) {
            String prefix = ConfigurationUtils.readOptionalStringProperty(type, tag, config, key);
            if (prefix != null) {
                name = prefix + "." + name;
            }
        }
        return name;
    }
}
