package local.searchpipeline;

import java.util.Map;
import org.opensearch.ingest.ConfigurationUtils;

/** The attribute in which the first processor passes the requested number of hits to the second. */
final class OriginalSize {

    private OriginalSize() {}

    /** Reads the attribute's name from a processor's settings. A prefix distinguishes several oversamplings in one pipeline. */
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
