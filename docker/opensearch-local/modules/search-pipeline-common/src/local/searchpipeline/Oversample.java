package local.searchpipeline;

import java.util.Map;
import org.opensearch.action.search.SearchRequest;
import org.opensearch.ingest.ConfigurationUtils;
import org.opensearch.search.SearchService;
import org.opensearch.search.builder.SearchSourceBuilder;
import org.opensearch.search.pipeline.AbstractProcessor;
import org.opensearch.search.pipeline.PipelineProcessingContext;
import org.opensearch.search.pipeline.Processor;
import org.opensearch.search.pipeline.SearchRequestProcessor;
import org.opensearch.search.pipeline.StatefulSearchRequestProcessor;

/** Requests more hits than the client, and records the number that the client requested. */
final class Oversample extends AbstractProcessor implements StatefulSearchRequestProcessor {

    static final String TYPE = "oversample";

    private final double factor;
    private final String attribute;

    private Oversample(String tag, String description, boolean ignoreFailure, double factor, String attribute) {
        super(tag, description, ignoreFailure);
        this.factor = factor;
        this.attribute = attribute;
    }

    static Oversample create(
        Map<String, Processor.Factory<SearchRequestProcessor>> others,
        String tag,
        String description,
        boolean ignoreFailure,
        Map<String, Object> config,
        Processor.PipelineContext context
    ) {
        double factor = ConfigurationUtils.readDoubleProperty(TYPE, tag, config, "sample_factor");
        if (!(factor >= 1.0)) {
            throw ConfigurationUtils.newConfigurationException(TYPE, tag, "sample_factor", "Value must be >= 1.0");
        }
        // the documentation spells it content_prefix here and context_prefix in truncate_hits
        return new Oversample(tag, description, ignoreFailure, factor, OriginalSize.attribute(TYPE, tag, config, "content_prefix", "context_prefix"));
    }

    @Override
    public SearchRequest processRequest(SearchRequest request, PipelineProcessingContext context) {
        if (request.source() == null) {
            request.source(new SearchSourceBuilder());
        }
        int asked = request.source().size();
        if (asked == -1) {
            asked = SearchService.DEFAULT_SIZE;
        }
        context.setAttribute(attribute, asked);
        request.source().size((int) Math.ceil(asked * factor));
        return request;
    }

    @Override
    public String getType() {
        return TYPE;
    }
}
